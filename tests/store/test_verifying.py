"""Verifying a results folder: each planted fault is named with its file, and a whole folder has none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.store.test_record import KEPT, signed
from tests.store.test_store import a_record, a_run
from vqbench.spec import RunSpec
from vqbench.store.record import FORMAT, Record, Value
from vqbench.store.results import ResultStore
from vqbench.store.verifying import verify

PUBLISHED = Path(__file__).parents[2] / "results"
FIRST, SECOND = a_run(seed=1), a_run(seed=2)


def filled(root: Path, *runs: RunSpec) -> ResultStore:
    """A store of finished runs with per-image values."""
    store = ResultStore(root)
    for run in runs or (FIRST, SECOND):
        record = a_record(run)
        record.values["clean"] = {"psnr": Value(20.5, 1, 1, 4), "usage": Value(50.0, 1, 1, 4)}
        store.write_images(run, {"clean/psnr": np.array([20.0, 21.0, 20.25, 20.75])})
        store.write(record)
    return store


def edit(store: ResultStore, old: str, new: str) -> None:
    path = store.folder(FIRST) / "record.json"
    path.write_text(path.read_text().replace(old, new))


def sign_edited(store: ResultStore, old: str, new: str) -> None:
    """Change a record as one would who knows how its digest is made."""
    path = store.folder(FIRST) / "record.json"
    path.write_text(signed(json.loads(path.read_text().replace(old, new))))


def rename(store: ResultStore) -> None:
    store.folder(FIRST).rename(store.root / f"mnist-vq-{'0' * 16}")


def remove(store: ResultStore, name: str) -> None:
    (store.folder(FIRST) / name).unlink()


def truncate(store: ResultStore, name: str) -> None:
    path = store.folder(FIRST) / name
    path.write_bytes(path.read_bytes()[:-30] if path.exists() else b"PK")


def shorten_images(store: ResultStore) -> None:
    store.write_images(FIRST, {"clean/psnr": np.full(3, 20.5)})


def link(store: ResultStore) -> None:
    store.folder(FIRST).rename(store.root.parent / "elsewhere")
    store.folder(FIRST).symlink_to(store.root.parent / "elsewhere")


FAULTS: dict[str, tuple[Callable[[ResultStore], None], str, str]] = {  # what is done, file, and words about it
    "digit": (lambda store: edit(store, "20.5", "20.6"), "record.json", "its content does not fit its digest"),
    "digit, signed": (
        lambda store: sign_edited(store, "20.5", "20.6"),
        "per_image.npz",
        "the mean of clean/psnr is 20.5",
    ),
    "seed, signed": (lambda store: sign_edited(store, '"seed": 1', '"seed": 3'), "record.json", "but its run has"),
    "renamed folder": (rename, f"mnist-vq-{'0' * 16}", "rename the folder"),
    "missing arrays": (lambda store: remove(store, "per_image.npz"), "per_image.npz", "has no values of clean/psnr"),
    "damaged arrays": (lambda store: truncate(store, "per_image.npz"), "per_image.npz", "damaged"),
    "few images": (shorten_images, "per_image.npz", "3 values of clean/psnr, but the record counts 4 images"),
    "damaged snapshot": (lambda store: truncate(store, "portrait.npz"), "portrait.npz", "damaged"),
    "missing record": (lambda store: remove(store, "record.json"), FIRST.key, "has arrays but no record.json"),
    "newer format": (
        lambda store: sign_edited(store, '"format": 1', f'"format": {FORMAT + 1}'),
        "record.json",
        f"its format is {FORMAT + 1}, this vqbench reads formats up to {FORMAT}; upgrade vqbench",
    ),
    "link": (link, FIRST.key, "a link, which is not followed"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_named(fault: str, tmp_path: Path) -> None:
    """Every kind of fault is one problem, with its file and what is wrong; the other run stays sound."""
    store = filled(tmp_path / "results")
    plant, name, words = FAULTS[fault]
    plant(store)
    found = verify(ResultStore(store.root))
    about = [str(problem) for problem in found.problems if problem.path.name.endswith(name)]
    assert len(about) == len({problem.path for problem in found.problems}) == 1, found.problems
    assert words in about[0]
    assert str(store.folder(SECOND)) not in str(found.problems)


def test_the_published_results_are_whole() -> None:
    """No problem is found in the published results."""
    found = verify(ResultStore(PUBLISHED))
    assert found.problems == []
    assert found.records == len([*PUBLISHED.glob("*/record.json")]) > 0
    assert found.arrays > 0
    assert found.snapshots > 0


def test_records_of_older_formats_verify(tmp_path: Path) -> None:
    """A record of every format ever published is sound, one without a digest as well."""
    store = ResultStore(tmp_path)
    kept = [path for path in sorted(KEPT.iterdir()) if Record.from_json(path.read_bytes()).run.parent is None]
    for path in kept:
        folder = store.folder(Record.from_json(path.read_bytes()).run)
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder / "record.json")
    assert verify(store).problems == []


def test_a_second_stage_needs_its_first(tmp_path: Path) -> None:
    """A second stage without the record of the run that it builds on is a problem, with it none."""
    second = replace(a_run(), parent=FIRST.key)
    store = filled(tmp_path, second)
    assert [problem.about for problem in verify(store).problems] == [
        f"its first stage, {FIRST.key}, has no sound record here; copy that one, too"
    ]
    filled(tmp_path, FIRST)
    assert verify(store).problems == []


def test_unfinished_runs_are_listed(tmp_path: Path) -> None:
    """A run that is half trained, or that failed, is no problem but is listed."""
    store = filled(tmp_path)
    for name in ("last.pt", "failed.json"):
        folder = tmp_path / f"mnist-vq-{name[0] * 16}".replace("l", "a")
        folder.mkdir()
        (folder / name).write_bytes(b"x")
        (folder / "curves.npz").write_bytes(b"x")
    found = verify(store)
    assert found.problems == []
    assert len(found.unfinished) == 2
