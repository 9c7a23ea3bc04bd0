"""The names of vqbench.functional, which are imported when they are first used."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import vqbench.functional as Q


def test_each_name_comes_from_the_module_that_type_checkers_see() -> None:
    """The imports for type checkers, the list of public names and the lazy imports are the same."""
    (block,) = (
        each
        for each in ast.parse(Path(Q.__file__).read_text()).body
        if isinstance(each, ast.If) and each.body[1:] and isinstance(each.body[0], ast.ImportFrom)
    )
    seen = {alias.name: each.module for each in block.body if isinstance(each, ast.ImportFrom) for alias in each.names}
    assert seen == Q._HOMES
    assert sorted(seen) == sorted(Q.__all__)


def test_all_names_exist() -> None:
    """Every public name can be imported, and is what its module calls so, also where a module has a similar name."""
    for name in Q.__all__:
        assert getattr(Q, name) is not None
        assert name in dir(Q)
    assert callable(Q.anchors)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        Q.nonsense  # type: ignore[attr-defined]  # noqa: B018
