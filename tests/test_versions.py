"""Code that changes the weights of published runs must raise a VERSION."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.support.twenty_updates import FILE, TOLERANCES, Trained, moved, rows, train
from vqbench import registry

REWRITE = "python tests/support/twenty_updates.py"
KEPT: dict[str, dict[str, Any]] = {each["row"]: each for each in json.loads(FILE.read_text(encoding="utf-8"))}
ROWS = rows()


def complaint(row: Trained, kept: dict[str, Any] | None, now: dict[str, float]) -> str:
    """Return what is wrong with a row in one sentence; empty if its values are the stored ones."""
    quantizer = row.quantizer.name
    if kept is None:
        return f"a published row of {quantizer} is not stored; write it by `{REWRITE}`"
    if row.versions != kept["versions"]:
        then = kept["versions"]
        changed = [f"{name} ({then.get(name)} to {new})" for name, new in row.versions.items() if then.get(name) != new]
        return f"VERSION was changed of {', '.join(changed)}; rewrite its values by `{REWRITE}`"
    if names := list(moved(kept["values"], now, TOLERANCES[row.stage])):
        first, *others = row.versions if row.stage == "tokenizer" else reversed(row.versions)
        return (
            f"raise VERSION of {first} (or of {' or '.join(others)}, if the change is there) and rewrite its values "
            f"by `{REWRITE}`: 20 updates of it no longer give the stored values ({', '.join(names[:3])})"
        )
    return ""


@pytest.mark.parametrize("name", ROWS, ids=[f"{row.recipe.name}-{row.quantizer.name}" for row in ROWS.values()])
def test_twenty_updates_end_where_they_did(name: str, tmp_path: Path) -> None:
    """Each published row, trained for 20 updates at a reduced size, has the stored loss and weights."""
    row, kept = ROWS[name], KEPT.get(name)
    for package in registry.load("recipes", row.recipe.name).packages:  # type: ignore[attr-defined]
        if find_spec(package) is None:
            pytest.skip(f"the package {package}, which this row's recipe needs, is not installed")
    same = kept is not None and row.versions == kept["versions"]
    said = complaint(row, kept, train(row, tmp_path) if same else {})
    assert not said, said


def test_nothing_is_kept_that_is_not_published() -> None:
    """The file stores no rows that no published suite has any more."""
    left = sorted(KEPT.keys() - ROWS.keys())
    assert not left, f"{len(left)} stored rows are in no published suite; rewrite the file by `{REWRITE}`: {left[:1]}"


def test_a_moved_value_requires_a_version() -> None:
    """The sentence names the quantizer where values moved, and the command where its VERSION was raised."""
    row = next(
        row
        for row in ROWS.values()
        if row.quantizer.name == "ibq" and row.stage == "tokenizer" and row.backbone.name == "conv"
    )
    kept = {"versions": row.versions, "values": {"loss": 1.0, "codebook, mean": 0.0, "codebook, rms": 2.0}}
    still = {"loss": 1.000001, "codebook, mean": 1e-5, "codebook, rms": 2.0}
    assert complaint(row, kept, still) == ""
    assert complaint(row, kept, still | {"loss": 1.0001}).startswith("raise VERSION of ibq (or of conv or autoencoder")
    assert "(codebook, mean)" in complaint(row, kept, still | {"codebook, mean": 1e-3})
    assert "(loss)" in complaint(row, kept, still | {"loss": float("nan")})
    assert "(new)" in complaint(row, kept, still | {"new": 0.0})
    older = {**kept, "versions": {**row.versions, "ibq": 1}}
    assert complaint(row, older, still) == f"VERSION was changed of ibq (1 to 2); rewrite its values by `{REWRITE}`"
    assert "not stored" in complaint(row, None, still)
