"""Merging results folders: finished runs are copied, values added, conflicts named, nothing overwritten."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.store.test_record import CONTENT, KEPT, later_record, signed
from tests.store.test_store import a_record, a_run
from vqbench.errors import Unwritable
from vqbench.spec import RunSpec
from vqbench.store.merging import MergedRun, merge
from vqbench.store.record import FORMAT, Record, Value
from vqbench.store.results import ResultStore
from vqbench.store.verifying import verify

FIRST, SECOND = a_run(seed=1), a_run(seed=2)
IMAGES = np.array([20.0, 21.0, 20.25, 20.75], dtype=np.float32)


def store(root: Path, *runs: RunSpec, **further: float) -> ResultStore:
    """A store of finished runs with per-image values of one metric, and ``further`` values."""
    made = ResultStore(root)
    root.mkdir(exist_ok=True)
    for run in runs:
        record = a_record(run)
        record.values["clean"] = {"psnr": Value(20.5, 1, 1, 4)}
        record.values["clean"] |= {name: Value(value, 1, 1, 4) for name, value in further.items()}
        made.write_images(run, {"clean/psnr": IMAGES})
        made.write(record)
    return made


def files(root: Path) -> dict[str, bytes]:
    """Every file below ``root``, with its content."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def states(results: list[MergedRun], a: Path) -> dict[str, str]:
    """The state of every run, by its seed."""
    names = {ResultStore(a).folder(run).name: str(run.seed) for run in (FIRST, SECOND)}
    return {names.get(run.name, run.name): run.state for run in results}


def test_runs_of_both_are_in_the_result(tmp_path: Path) -> None:
    """A merge into a new folder has the runs of both, byte by byte, and the sources are unchanged."""
    a, b = store(tmp_path / "a", FIRST), store(tmp_path / "b", SECOND)
    (b.root / "suites").mkdir()
    (b.root / "suites" / "quick.json").write_text("{}")
    before = files(tmp_path)
    out = ResultStore(tmp_path / "out")
    assert states([*merge([a, b], out)], a.root) == {"1": "copied", "2": "copied"}
    assert files(out.root) == files(a.root) | files(b.root)
    assert {name: content for name, content in files(tmp_path).items() if not name.startswith("out/")} == before
    assert verify(out).problems == []


def test_an_equal_run_is_one(tmp_path: Path) -> None:
    """A run in both with equal values is one, whenever and wherever it was measured."""
    a, b = store(tmp_path / "a", FIRST), store(tmp_path / "b")
    record = a.read(FIRST)
    assert record is not None
    record.made = {**record.made, "date": "2027-01-01", "seconds": 9.0}
    b.write_images(FIRST, {"clean/psnr": IMAGES})
    b.write(record)
    before = files(a.root)
    assert states([*merge([a, b], a)], a.root) == {"1": "same"}
    assert files(a.root) == before


def test_values_that_one_lacks_are_added(tmp_path: Path) -> None:
    """Values and per-image values of both are kept, in either direction."""
    for name, first, second in (("x", {"l1": 0.5}, {"ssim": 0.7}), ("y", {}, {"ssim": 0.7})):
        a, b = store(tmp_path / f"{name}a", FIRST, **first), store(tmp_path / f"{name}b", FIRST, **second)
        b.write_images(FIRST, {"clean/ssim": np.full(4, 0.7)})
        assert states([*merge([a, b], a)], a.root) == {"1": "completed"}
        record = a.read(FIRST)
        assert record is not None
        assert record.values["clean"].keys() == {"psnr", *first, *second}
        assert a.read_images(FIRST).keys() == {"clean/psnr", "clean/ssim"}
        assert states([*merge([a, b], a)], a.root) == {"1": "same"}


def change_value(b: ResultStore) -> None:
    record = b.read(FIRST)
    assert record is not None
    record.values["clean"]["psnr"] = Value(20.25, 1, 1, 4)
    b.write(record)


def change_version(b: ResultStore) -> None:
    record = b.read(FIRST)
    assert record is not None
    record.values["clean"]["psnr"] = Value(20.5, 2, 1, 4)
    b.write(record)


def change_image(b: ResultStore) -> None:
    b.write_images(FIRST, {"clean/psnr": IMAGES[::-1]})


def change_weights(b: ResultStore) -> None:
    record = b.read(FIRST)
    assert record is not None
    record.values = {"official": {"l1": Value(0.5, 1, 1, 4)}}
    record.history = [{"epoch": 1, "loss": 0.25}]
    b.write(record)


CONFLICTS: dict[str, tuple[Callable[[ResultStore], None], str]] = {
    "value": (change_value, "clean/psnr is 20.5 in {a}, 20.25 in {b}"),
    "version": (change_version, "clean/psnr is 20.5 (version 1 of the metric"),
    "image": (change_image, "per-image values of clean/psnr differ between {a} and {b}"),
    "weights": (change_weights, "no value in common, and other trainings"),
}


@pytest.mark.parametrize("conflict", CONFLICTS)
@pytest.mark.parametrize("into", ["a", "out"])
def test_a_conflict_is_named_and_nothing_is_overwritten(conflict: str, into: str, tmp_path: Path) -> None:
    """Different values of one run are named with both folders; of this run nothing is written, of others all."""
    a, b = store(tmp_path / "a", FIRST), store(tmp_path / "b", FIRST, SECOND)
    change, words = CONFLICTS[conflict]
    change(b)
    out = ResultStore(tmp_path / into)
    before = files(out.root)
    results = [*merge([a, b], out)]
    assert states(results, a.root) == {"1": "conflict", "2": "copied"}
    about = next(run.about for run in results if run.state == "conflict")
    assert words.format(a=a.root, b=b.root) in about
    assert {name: content for name, content in files(out.root).items() if SECOND.key not in name} == before


def test_sources_are_compared_with_each_other(tmp_path: Path) -> None:
    """Two sources in conflict are named although the target, which has the run, lacks the value that they have."""
    a, b = store(tmp_path / "a", FIRST, ssim=0.5), store(tmp_path / "b", FIRST, ssim=0.6)
    out = store(tmp_path / "out", FIRST)
    before = files(tmp_path)
    assert states([*merge([a, b], out)], a.root) == {"1": "conflict"}
    assert files(tmp_path) == before


def test_only_finished_and_sound_runs_are_merged(tmp_path: Path) -> None:
    """Half-trained, failed, damaged, renamed and newer runs are left, each with its reason."""
    a, b = store(tmp_path / "a"), store(tmp_path / "b", *(a_run(seed=seed) for seed in range(4)))
    folders = [b.folder(a_run(seed=seed)) for seed in range(4)]
    (folders[0] / "record.json").rename(folders[0] / "last.pt")
    (folders[1] / "record.json").write_text("{")
    (folders[2] / "record.json").write_text(signed({"format": FORMAT + 1}))
    folders[3].rename(b.root / f"mnist-vq-{'0' * 16}")
    results = {run.name.rpartition("-")[2]: run for run in merge([a, b], a)}
    keys = [a_run(seed=seed).key for seed in range(3)]
    assert [results[key].state for key in keys] == ["unfinished", "unreadable", "unreadable"]
    assert "upgrade vqbench" in results[keys[2]].about
    assert "rename the folder" in results["0" * 16].about
    assert files(a.root) == {}


def test_a_run_in_work_is_left(tmp_path: Path) -> None:
    """A run that a process works on, in the source or the target, and one half trained in the target, are left."""
    a, b = store(tmp_path / "a", FIRST), store(tmp_path / "b", FIRST, SECOND, l1=0.5)
    with b.lock(SECOND), a.lock(FIRST):
        results = [*merge([a, b], a)]
    assert states(results, a.root) == {"1": "unfinished", "2": "unfinished"}
    a.folder(SECOND).mkdir()
    (a.folder(SECOND) / "last.pt").write_bytes(b"x")
    assert states([*merge([a, b], a)], a.root) == {"1": "completed", "2": "unfinished"}
    assert SECOND not in a


def test_checkpoints_are_copied_on_request(tmp_path: Path) -> None:
    """Snapshots are always copied, checkpoints and parts of samples only on request, also later."""
    a, b = store(tmp_path / "a"), store(tmp_path / "b", FIRST)
    (b.folder(FIRST) / "samples-n=2.parts").mkdir()
    names = ["curves.npz", "best.pt", "samples-n=2.parts/0", "last.pt"]
    for name in names:
        (b.folder(FIRST) / name).write_bytes(b"" if name == "last.pt" else name.encode())
    [*merge([a, b], a)]
    assert [name for name in names if (a.folder(FIRST) / name).exists()] == ["curves.npz"]
    assert states([*merge([a, b], a, checkpoints=True)], a.root) == {"1": "completed"}
    assert files(a.root) == {name: text for name, text in files(b.root).items() if not name.endswith("lock")}


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_older_records_are_copied_as_they_are(name: str, tmp_path: Path) -> None:
    """A record of any format ever published is copied byte by byte, and so are the fields of a later version."""
    a, b = store(tmp_path / "a"), store(tmp_path / "b")
    for text in ((KEPT / f"{name}.json").read_bytes(), signed(later_record()).encode()):
        folder = b.folder(Record.from_json(text).run)
        folder.mkdir()
        (folder / "record.json").write_bytes(text)
    [*merge([a, b], a)]
    assert files(a.root) == files(b.root)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """A dry run has the results of a merge, and creates no folder and no lock."""
    a, b = store(tmp_path / "a", FIRST), store(tmp_path / "b", FIRST, SECOND, l1=0.5)
    out, before = ResultStore(tmp_path / "out"), files(tmp_path)
    dry = [*merge([a, b], out, dry_run=True)], [*merge([a, b], a, dry_run=True)]
    assert files(tmp_path) == before
    assert not out.root.exists()
    assert dry == ([*merge([a, b], out)], [*merge([a, b], a)])


def test_a_full_disk_loses_nothing_and_the_merge_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever write fails, no run is half there, and the same call finishes the merge."""
    a, b = store(tmp_path / "a", FIRST, l1=0.5), store(tmp_path / "b", FIRST, SECOND, ssim=0.7)
    [*merge([a, b], ResultStore(tmp_path / "whole"))]
    fsync = os.fsync
    for writes in range(4):
        left = [writes]

        def full(descriptor: int, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(28, "No space left on device")
            fsync(descriptor)

        out = ResultStore(tmp_path / f"out{writes}")
        with monkeypatch.context() as patch:
            patch.setattr("os.fsync", full)
            with pytest.raises(Unwritable, match="No space left on device"):
                [*merge([a, b], out)]
        assert [fault for fault in verify(out).problems if "no record.json" not in fault.about] == []
        halves = [folder for folder in out.root.glob("*/") if not (folder / "record.json").exists()]
        for folder in halves:
            (folder / ".record.json.4711").write_bytes(b"{")  # as a killed process leaves it
        assert len(halves) == 1
        [*merge([a, b], out)]
        assert files(out.root) == files(tmp_path / "whole")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A run's folder that is a link, or a checkpoint that is one, is not copied."""
    a, b = store(tmp_path / "a"), store(tmp_path / "b", FIRST, SECOND)
    shutil.move(b.folder(FIRST), tmp_path / "elsewhere")
    b.folder(FIRST).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "secret").write_text("x")
    (b.folder(SECOND) / "best.pt").symlink_to(tmp_path / "secret")
    assert states([*merge([a, b], a, checkpoints=True)], a.root) == {"1": "unfinished", "2": "copied"}
    assert "best.pt" not in str(files(a.root))
