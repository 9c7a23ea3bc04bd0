"""The store: records are complete or absent, and nothing is lost."""

from __future__ import annotations

import errno
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vqbench.errors import Damaged, StoreError
from vqbench.spec import PluginSpec, RunSpec
from vqbench.store.record import Failure, Record, Value
from vqbench.store.results import ResultStore
from vqbench.system.stored_files import write_atomically


def a_run(seed: int = 42) -> RunSpec:
    parts = [PluginSpec(name, 1, {}) for name in ("autoencoder", "conv", "mnist", "vq")]
    return RunSpec(*parts, seed=seed)


def a_record(run: RunSpec) -> Record:
    values = {
        "clean": {"psnr": Value(20.5, 1, 1, 1000), "usage": Value(None, 1, 1, 1000), "l1": Value(math.inf, 1, 1, 2)}
    }
    made = {"seconds": 1.5, "device": "a CPU", "threads": 1, "versions": {"torch": "2"}, "date": "2026-01-31"}
    made["commit"] = None
    return Record(run, values, made, [{"epoch": 1, "loss": 0.5}])


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    """A record that is written and read back is unchanged."""
    store, record = ResultStore(tmp_path), a_record(a_run())
    store.write(record)
    assert store.read(a_run()) == record
    assert list(store.records()) == [record]


def test_a_run_without_its_record_is_not_done(tmp_path: Path) -> None:
    """A run is complete by its record alone, not by checkpoints, per-image values or scratch files."""
    store = ResultStore(tmp_path)
    store.write_images(a_run(), {"clean/psnr": np.zeros(3)})
    (store.folder(a_run()) / "best.pt").write_bytes(b"x")
    (store.folder(a_run()) / ".record.json.123").write_text("{")
    assert a_run() not in store
    assert store.read(a_run()) is None


def test_missing_names_what_is_absent_or_of_another_version(tmp_path: Path) -> None:
    """A number counts as stored only if metric and protocol are of the wanted versions; None is a stored answer."""
    store = ResultStore(tmp_path)
    wanted = {"clean": {"psnr": (1, 1), "usage": (1, 1), "rfid": (1, 1)}, "official": {"psnr": (1, 1)}}
    assert store.missing(a_run(), wanted) == {"clean": ["psnr", "usage", "rfid"], "official": ["psnr"]}
    store.write(a_record(a_run()))
    assert store.missing(a_run(), wanted) == {"clean": ["rfid"], "official": ["psnr"]}
    assert store.missing(a_run(), {"clean": {"psnr": (2, 1)}}) == {"clean": ["psnr"]}
    assert store.missing(a_run(), {"clean": {"psnr": (1, 2)}}) == {"clean": ["psnr"]}


def test_images_are_added_to_those_stored(tmp_path: Path) -> None:
    """Adding a metric keeps the per-image values of the others."""
    store = ResultStore(tmp_path)
    store.write_images(a_run(), {"clean/psnr": np.arange(3.0)})
    store.write_images(a_run(), {"clean/l1": np.ones(3)})
    assert {name: list(values) for name, values in store.read_images(a_run()).items()} == {
        "clean/psnr": [0, 1, 2],
        "clean/l1": [1, 1, 1],
    }


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is one sentence that names the file; the old content stays and no scratch file remains."""
    path = tmp_path / "record.json"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StoreError, match=r"record\.json: cannot write \(No space left on device\)"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_damaged_record_is_named_and_left_alone(tmp_path: Path, content: str) -> None:
    """A record that cannot be read is an error that names it, never an empty result, and is not deleted."""
    store = ResultStore(tmp_path)
    path = store.folder(a_run()) / "record.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(StoreError, match=r"record\.json"):
        store.read(a_run())
    assert path.read_text() == content


def test_a_changed_record_is_noticed(tmp_path: Path) -> None:
    """A record with one digit changed is damaged; one without a digest, as the first were written, is read."""
    store = ResultStore(tmp_path)
    store.write(a_record(a_run()))
    path = store.folder(a_run()) / "record.json"
    written = path.read_text()
    assert "20.5" in written
    path.write_text(written.replace("20.5", "20.6"))
    with pytest.raises(Damaged, match="its content does not fit its digest"):
        store.read(a_run())
    content = json.loads(written)
    del content["digest"]
    path.write_text(json.dumps(content))
    assert store.read(a_run()) == a_record(a_run())


def test_what_is_damaged_is_set_aside(tmp_path: Path) -> None:
    """Mending renames unreadable files and reports them; per-image values take their record along."""
    store, run = ResultStore(tmp_path), a_run()
    store.write(a_record(run))
    store.write_images(run, {"clean/psnr": np.arange(999.0)})
    assert store.mend(run) == []
    images = store.folder(run) / "per_image.npz"
    content = bytearray(images.read_bytes())
    content[len(content) // 4] ^= 1
    images.write_bytes(content)
    (store.folder(run) / "failed.json").write_text("{")
    with pytest.raises(Damaged, match=r"per_image\.npz"):
        store.read_images(run)
    assert len(store.mend(run)) == 3
    left = sorted(path.name for path in store.folder(run).iterdir())
    assert left == ["failed.json.damaged", "per_image.npz.damaged", "record.json.damaged"]
    assert (run in store, store.read_images(run), store.failure(run)) == (False, {}, None)


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_a_file_system_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flock, a run is still locked by one process at a time, and freed."""
    import fcntl

    def without(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", without)
    store = ResultStore(tmp_path)
    for _ in range(2):
        with store.lock(a_run()) as locked, ResultStore(tmp_path).lock(a_run()) as second:
            assert (locked, second) == (True, False)


def test_a_record_forgets_an_earlier_failure(tmp_path: Path) -> None:
    """A run that failed and then succeeded is not shown as failed."""
    store = ResultStore(tmp_path)
    store.fail(a_run(), Failure("NaN", ["line"]))
    assert store.failure(a_run()) == Failure("NaN", ["line"])
    store.write(a_record(a_run()))
    assert store.failure(a_run()) is None


LOCK = """
import sys
from vqbench.spec import RunSpec
from vqbench.store.results import ResultStore
import json
import math
with ResultStore(sys.argv[1]).lock(RunSpec.from_dict(json.loads(sys.argv[2]))) as locked:
    print(locked, flush=True)
    sys.stdin.read()
"""


def test_one_process_locks_a_run(tmp_path: Path) -> None:
    """While a process works on a run, no other can lock it; a killed process releases it."""
    words = [sys.executable, "-c", LOCK, str(tmp_path), json.dumps(a_run().to_dict())]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        store = ResultStore(tmp_path)
        with store.lock(a_run()) as locked:
            assert not locked
        assert store.is_locked(a_run())
        with store.lock(a_run(seed=7)) as locked:
            assert locked
        process.kill()
        process.wait()
        assert not store.is_locked(a_run())


def test_a_file_in_place_of_the_folder_is_one_sentence(tmp_path: Path) -> None:
    """A results folder that is no folder is refused by name."""
    (tmp_path / "runs").write_text("")
    with pytest.raises(StoreError, match="not a folder"):
        ResultStore(tmp_path / "runs")


def test_records_are_deterministic(tmp_path: Path) -> None:
    """Writing the same record twice gives the same bytes, so that published records do not change by themselves."""
    first, second = ResultStore(tmp_path / "a"), ResultStore(tmp_path / "b")
    for store in (first, second):
        store.write(a_record(a_run()))
        store.write_images(a_run(), {"clean/psnr": np.arange(3.0), "clean/l1": np.ones(3)})
    for name in ("record.json", "per_image.npz"):
        assert (first.folder(a_run()) / name).read_bytes() == (second.folder(a_run()) / name).read_bytes()
    assert json.loads((first.folder(a_run()) / "record.json").read_text())["key"] == a_run().key
