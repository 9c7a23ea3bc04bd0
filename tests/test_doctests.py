"""The examples in docstrings, run as doctests."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import vqbench
import vqbench.quantizers

PACKAGE = Path(vqbench.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples() -> list[str]:
    """Dotted names of all modules whose text has an example."""
    files = {path: path.relative_to(PACKAGE.parent).with_suffix("").parts for path in PACKAGE.rglob("*.py")}
    for path in Path(next(iter(vqbench.quantizers.__path__))).glob("*.py"):  # behind a link, which rglob may not follow
        files[path] = ("vqbench", "quantizers", path.stem)
    found = {".".join(words) for path, words in files.items() if ">>> " in path.read_text(encoding="utf-8")}
    return sorted({name.removesuffix(".__init__") for name in found})


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_do_what_they_show(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example of a module runs in an empty folder and prints the shown output."""
    monkeypatch.chdir(tmp_path)
    results = doctest.testmod(importlib.import_module(name), optionflags=FLAGS)
    assert results.attempted > 0, "the examples are not found: they stand in no docstring"
    assert results.failed == 0
