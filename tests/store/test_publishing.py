"""Publishing a run again: published values stay where they are of the same weights, and go with a word elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.store.test_store import a_record, a_run
from vqbench.store.publishing import take_over
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

RFID = Value(170.1, 1, 1, 1000)


def published(folder: Path) -> ResultStore:
    """A store with a record that has one metric more, who measured it, and its values per image."""
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
    said = take_over(new, store)
    assert said is not None
    assert "rfid under clean" in said
    assert "rfid" not in new.values["clean"]
    assert store.read_images(new.run) == {}


def test_what_was_never_published_takes_nothing_over(tmp_path: Path) -> None:
    """A first publication changes nothing of a record."""
    new = again()
    assert take_over(new, ResultStore(tmp_path)) is None
    assert new == again()
