"""Shared options: the default suite, the store, and the selection of suites."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench
from vqbench.cli.options import Selection
from vqbench.errors import UsageError
from vqbench.execution import suite_runner


def test_a_command_without_a_suite_says_which_one_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` and all other commands take `quick` where no suite is named, and print that."""
    monkeypatch.setattr(suite_runner, "run_suites", lambda *_: suite_runner.SuiteSummary(lacking=1))
    assert vqbench("run", "--store", tmp_path) == 0
    assert "vqbench: No suite given: running quick\n" in capsys.readouterr().err
    assert vqbench("status", "--store", tmp_path) == 0
    assert "vqbench: No suite given: showing quick\n" in capsys.readouterr().err
    assert vqbench("status", "quick", "--store", tmp_path) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("command", ["table", "status", "report"])
def test_a_store_that_does_not_exist_is_refused(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A misspelt --store is an error instead of a table without values; the default one may not exist yet."""
    monkeypatch.chdir(tmp_path)
    assert vqbench(command, "quick", "--store", "rums") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("vqbench: --store rums: this folder does not exist")
    assert vqbench(command, "quick") == 0


@pytest.mark.parametrize("command", ["run", "plan", "status", "table", "report", "prepare", "publish", "clean"])
def test_every_command_passes_all_options_of_a_selection_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each option that changes a suite has the same name in every command that takes a suite."""
    selections: list[Selection] = []

    def plan(selection: Selection, *_: object, **__: object) -> None:
        selections.append(selection)
        raise UsageError("enough")

    monkeypatch.setattr(Selection, "plan", plan)
    words = ("--only", "a", "--skip", "b", "--seeds", "1,2", "--metrics", "c", "--set", "d=1", "--plugin", "e.py")
    sizes = ("--epochs", 1, "--batch-size", 2, "--subset", 3, "--test-images", 4)
    assert vqbench(command, "quick", "--store", tmp_path, *words, *sizes) == 2
    assert selections == [Selection(["a"], ["b"], "1,2", ["c"], ["d=1"], [Path("e.py")], 1, 2, 3, 4)]
