"""Plans in the user's cache: a second call resolves nothing, and what has changed is never taken from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.tiny_suite import vqbench, write
from vqbench.planning import loading

CHANGED = ("--set", "codebook.num_codes=64")


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """An empty cache; the names of the suites that are resolved."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    names: list[str] = []
    resolve = loading.resolve

    def noted(spec: Any, digest: str, variant: bool, whole: bool = True) -> Any:
        if whole:
            names.append(digest)
        return resolve(spec, digest, variant, whole)

    monkeypatch.setattr(loading, "resolve", noted)
    return names


def test_a_second_call_resolves_nothing(
    tmp_path: Path, resolved: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a changed suite that no store keeps, the second call prints the same from the cache; another change is
    resolved."""
    line = ("status", write(tmp_path, "vq, cvq"), "--store", tmp_path)
    shown = []
    for _ in range(2):
        assert vqbench(*line, *CHANGED) == 0
        shown.append(capsys.readouterr().out)
    assert len(resolved) == 1
    assert shown[0] == shown[1]
    assert vqbench(*line, "--set", "codebook.num_codes=32") == 0
    assert len(resolved) == 2
    assert capsys.readouterr().out != shown[0], "other keys"


def test_after_an_edit_of_the_code_it_is_resolved_anew(
    tmp_path: Path, resolved: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is of the code that resolved it: a changed suite, or a file of the package that changed, gives another."""
    line = ("status", write(tmp_path, "vq"), "--store", tmp_path)
    before = loading._code_digest()
    assert vqbench(*line) == vqbench(*line) == 0
    assert len(resolved) == 1
    copy = tmp_path / "package"
    (copy / "planning").mkdir(parents=True)
    for name in ("__init__.py", "planning/loading.py"):
        (copy / name).write_text("")
    monkeypatch.setattr(loading.vqbench, "__file__", str(copy / "__init__.py"))
    other = loading._code_digest()
    (copy / "planning/loading.py").write_text("pass")
    assert len({before, other, loading._code_digest()}) == 3
    assert vqbench(*line) == 0
    assert len(resolved) == 2
    write(tmp_path, "vq, cvq")
    assert vqbench(*line) == 0
    assert len(resolved) == 3


@pytest.mark.parametrize("broken", ["a file in its place", "a damaged plan"])
def test_without_a_usable_cache_it_works_as_well(tmp_path: Path, resolved: list[str], broken: str) -> None:
    """A cache that cannot be written is done without, and a damaged plan is resolved anew."""
    line = ("status", write(tmp_path, "vq"), "--store", tmp_path, *CHANGED)
    if broken == "a damaged plan":
        assert vqbench(*line) == 0
        (path,) = (tmp_path / "cache/plans").glob("*/suites/*.json")
        path.write_text(path.read_text().replace('"seed": ', '"seed": 1', 1))
    else:
        (tmp_path / "cache").write_text("")
    assert vqbench(*line) == vqbench(*line) == 0
    assert len(resolved) == 2
