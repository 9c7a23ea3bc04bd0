"""The generated reference: it has every command and option, every key of a suite, every plugin and argument."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import typer

from tests.docs.blocks import ROOT
from vqbench import registry
from vqbench.cli.commands import COMMANDS, EXIT_CODES, app
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_parts import Codebook, QuantizerRow, SampleSettings, TableSpec

pytest.importorskip("sphinx", reason="the extra docs is not installed")


def generated(module: str, *arguments: str) -> str:
    """The reStructuredText that a directive of the extension shows."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        lines: Any = importlib.import_module(f"vqbench_reference.{module}").lines
    finally:
        sys.path.pop(0)
    return "\n".join(lines(*arguments))


def test_every_command_and_option_is_listed() -> None:
    """Each command has a section with all options that it parses; all exit codes are explained."""
    text = generated("commands")
    group: Any = typer.main.get_command(app)
    for name in COMMANDS:
        section = text.partition(f"\nvqbench {name}\n")[2].partition("\nvqbench ")[0]
        options = [option for parameter in group.commands[name].params for option in parameter.opts]
        assert section
        assert not [option for option in options if option.startswith("--") and option not in section]
    assert all(meaning in text.replace("``", "") for meaning in EXIT_CODES.values())


def test_every_key_of_a_suite_is_listed() -> None:
    """Each key of a suite, a row, a budget, samples and a table stands in a table, with its description."""
    text = generated("suites")
    for model in (SuiteSpec, QuantizerRow, Codebook, SampleSettings, TableSpec):
        keys = set(model.model_fields) - {"quantizer", "args", "settings"}  # not written by these names
        assert not [key for key in keys if f"``{key}``" not in text], model


@pytest.mark.parametrize("kind", registry.CONTRACTS)
def test_every_plugin_is_listed(kind: registry.Kind) -> None:
    """Each built-in plugin has a section with its file, its presets and its arguments."""
    text = generated("plugins", kind)
    for name in registry.names(kind):
        section = text.partition(f"\n{name}\n{'-' * 2 * len(name)}\n")[2].partition("label of the next section")[0]
        assert "**File:**" in section, name
        cls = registry.load(kind, name)
        expected = [*getattr(cls, "presets", ())]
        if kind != "metrics":
            expected += [argument for argument, _ in registry.parameters(cls)]
        assert not [each for each in expected if f"``{each}``" not in section], name


def test_formulas_are_no_markup() -> None:
    """Bars, stars and trailing underscores of formulas are escaped; code blocks and literals stay."""
    sys.path.insert(0, str(ROOT / "docs" / "_ext"))
    try:
        rst = importlib.import_module("vqbench_reference.rst")
    finally:
        sys.path.pop(0)
    assert rst.plain("|m - m'|² of `a*b`, by --set x") == r"\|m - m'\|² of ``a*b``, by ``--set`` x"
    assert rst.plain("Y. Zhao") == r"\Y. Zhao"
    assert rst.escaped(["**uint8 in [0, 1]**, 2*K*D"]) == [r"**uint8 in [0, 1]**, 2\*K\*D"]
    assert rst.escaped(["two::", "", "    a * b", "c * d"]) == ["two::", "", "    a * b", r"c \* d"]
