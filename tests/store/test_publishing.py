"""Publishing a run again: published values stay where they are of the same weights, and go with a word elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.store.test_store import a_record, a_run
from vqbench.store import snapshots
from vqbench.store.publishing import take_over
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

RFID = Value(170.1, 1, 1, 1000)


def published(folder: Path) -> ResultStore:
    """A store whose record has one more metric, its provenance, and per-image values."""
    store, old = ResultStore(folder), a_record(a_run())
    old.values["clean"]["rfid"] = RFID
    old.made["measured"] = [{"seconds": 1.0, "metrics": {"clean": ["rfid"]}}]
    store.write(old)
    store.write_images(old.run, {"clean/l1": np.ones(1000)})
    return store


def again() -> Record:
    """The record of the same run, trained again, without that metric."""
    new = a_record(a_run())
    new.made["measured"] = [{"seconds": 2.0, "metrics": {"clean": ["psnr"]}}]
    return new


def test_values_of_the_same_weights_stay(tmp_path: Path) -> None:
    """Where all common values are equal, what only the published record has is kept, with how it was measured."""
    store, new = published(tmp_path), again()
    assert take_over(new, store) is None
    assert new.values["clean"]["rfid"] == RFID
    assert [each["metrics"]["clean"] for each in new.made["measured"]] == [["rfid"], ["psnr"]]
    assert store.read_images(new.run)


def test_values_of_other_weights_go_with_a_word(tmp_path: Path) -> None:
    """Where a common value differs, the published values and those of its images go, and a sentence names them."""
    store, new = published(tmp_path), again()
    new.values["clean"]["psnr"] = Value(20.6, 1, 1, 1000)
    sentence = take_over(new, store)
    assert sentence is not None
    assert "rfid under clean" in sentence
    assert "rfid" not in new.values["clean"]
    assert store.read_images(new.run) == {}


def test_what_was_never_published_takes_nothing_over(tmp_path: Path) -> None:
    """A first publication changes nothing of a record."""
    new = again()
    assert take_over(new, ResultStore(tmp_path)) is None
    assert new == again()


def test_as_many_images_are_published_as_fit(tmp_path: Path) -> None:
    """Of a snapshot with 64 images of noise, the first common ones and all extreme ones stay, below the limit."""
    images = np.random.default_rng(0).integers(0, 256, (2, 67, 3, 32, 32), dtype=np.uint8)
    whole = snapshots.Snapshot(
        positions=64,
        counts=None,
        chosen=np.arange(67),
        groups=np.array(["same"] * 64 + ["worst", "median", "best"]),
        scores=np.zeros(67, np.float32),
        originals=images[0],
        reconstructions=images[1],
        codes_at=None,
        features_at=None,
        explained=None,
        decoded=None,
        decoded_codes=None,
    )
    snapshots.write(tmp_path / "run", whole)
    snapshots.write(tmp_path / "run", snapshots.SampleSnapshot(images[0], images[1], np.arange(67)))
    assert snapshots.copy(tmp_path / "run", tmp_path / "published") == []
    for name in (snapshots.SNAPSHOT_FILE, snapshots.SAMPLES_FILE):
        size = (tmp_path / "published" / name).stat().st_size
        assert snapshots.PUBLISHED - 7000 < size <= snapshots.PUBLISHED
    kept = snapshots.read_snapshot(tmp_path / "published")
    assert kept is not None
    count = len(kept.chosen) - 3
    assert kept.chosen.tolist() == [*range(count), 64, 65, 66]
    assert np.array_equal(kept.reconstructions, images[1][kept.chosen])
    samples = snapshots.read_samples(tmp_path / "published")
    assert samples is not None
    assert np.array_equal(samples.neighbours, images[1][: len(samples.nearest)])


def test_images_that_never_fit_leave_the_counts(tmp_path: Path) -> None:
    """Where not even one image fits, the use of codes is published without images."""
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 3, 256, 256), dtype=np.uint8)
    groups, scores = np.array(["same"] * 2), np.zeros(2, np.float32)
    counts = np.ones((1, 8), np.int64)
    nothing = dict.fromkeys(("codes_at", "features_at", "explained", "decoded", "decoded_codes"))
    content = snapshots.Snapshot(256, counts, np.arange(2), groups, scores, *images, **nothing)
    snapshots.write(tmp_path / "run", content)
    assert snapshots.copy(tmp_path / "run", tmp_path / "published") == []
    kept = snapshots.read_snapshot(tmp_path / "published")
    assert kept is not None
    assert len(kept.chosen) == 0
    assert kept.counts is not None
