"""Help: a person finds a command and an option without reading all of them."""

from __future__ import annotations

import re
from inspect import signature

import pytest

from tests.support.tiny_suite import vqbench
from vqbench.cli import commands, help_pages


def test_every_summary_fits_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In a terminal of 80 columns, the summary of every command is whole and on one line."""
    monkeypatch.setenv("COLUMNS", "80")
    assert vqbench("--help") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines()[:-8])) <= 80
    lines = dict(re.findall(r"^  ([a-z]+) +(\S.*)$", shown, re.MULTILINE))
    assert [name for name in commands.COMMANDS if not lines.get(name, "...").endswith(".")] == []
    assert [name for name in commands.COMMANDS if lines[name].endswith("...")] == []


def test_every_command_has_a_heading() -> None:
    """No command is only listed among further ones."""
    assert set(commands.COMMANDS) <= {name for names in help_pages.COMMANDS.values() for name in names}


@pytest.mark.parametrize("command", ["", *commands.COMMANDS])
def test_h_is_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """-h prints what --help prints, everywhere."""
    words = [command] if command else []
    assert vqbench(*words, "--help") == 0
    long = capsys.readouterr().out
    assert vqbench(*words, "-h") == 0
    assert capsys.readouterr().out == long != ""


def test_options_are_under_headings(capsys: pytest.CaptureFixture[str]) -> None:
    """What changes, reduces, places and stops a suite is told apart; every option is shown once."""
    assert vqbench("run", "--help") == 0
    shown = capsys.readouterr().out
    below = {part.splitlines()[0]: part for part in shown.split("\n\n")}
    assert "--store" in below["Options:"]
    assert "--only" in below["Change the suite:"]
    assert "--epochs" in below["Reduce it (a copy, not comparable with full runs):"]
    assert "--executor" in below["Where it runs:"]
    assert "--timeout" in below["When it stops:"]
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+)", shown, re.MULTILINE)
    assert len(options) == len(set(options)) == len(signature(commands.COMMANDS["run"]).parameters)  # suites, --help


def test_usage_lines_name_arguments_plainly(capsys: pytest.CaptureFixture[str]) -> None:
    """A required argument has no braces, whatever typer's version writes."""
    for command in commands.COMMANDS:
        assert vqbench(command, "-h") == 0
        assert "{" not in capsys.readouterr().out.splitlines()[0]
    assert vqbench("export", "-h") == 0
    assert capsys.readouterr().out.startswith("Usage: vqbench export [OPTIONS] RUN [ROW]\n")


def test_check_changes_no_suite(capsys: pytest.CaptureFixture[str]) -> None:
    """The options of `check` are not listed as changes of a suite."""
    assert vqbench("check", "-h") == 0
    shown = capsys.readouterr().out
    assert "--only CHECK" in shown
    assert "Change the suite" not in shown


@pytest.mark.parametrize(("command", "named"), [("list", "quantizers, datasets, metrics"), ("info", "quantizer, data")])
def test_a_missing_argument_is_explained(command: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without KIND, the kinds are named."""
    assert vqbench(command) == 2
    assert f"Missing argument 'KIND': {named}" in capsys.readouterr().err
