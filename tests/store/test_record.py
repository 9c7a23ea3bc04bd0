"""Formats of records: older ones are read forever, newer ones refused, unknown fields preserved."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.store.test_store import a_record, a_run
from vqbench.errors import Damaged, StoreError
from vqbench.store.publishing import take_over
from vqbench.store.record import FORMAT, NewerFormat, Record
from vqbench.store.results import ResultStore

KEPT = Path(__file__).parent / "kept"  # one published record of each set of fields, as it was committed then
CONTENT = {  # of each kept record: protocol and metric of a value, its value, epochs
    "2026-11-23_without_digest": ("clean", "psnr", 16.067311907950437, 6),
    "2026-11-25_digest": ("clean@1000", "psnr", 17.88357920828592, 5),
    "2026-11-25_devices_and_usage": ("clean", "psnr", 19.1998794304374, 6),
    "2026-11-25_second_stage": ("clean:n=1000,reference=test,temperature=1", "copies", 31.2, 25),
    "2026-11-28_origins_and_state": ("clean", "psnr", 19.1998794304374, 6),
}


def signed(content: dict[str, Any]) -> str:
    """A record's JSON with the digest of its content, whatever its fields are."""
    content.pop("digest", None)
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return json.dumps({**content, "digest": hashlib.sha256(text.encode()).hexdigest()})


def later_record() -> dict[str, Any]:
    """A record with unknown fields, at every level that later versions may extend."""
    content: dict[str, Any] = json.loads(a_record(a_run()).to_json())
    content["external"] = {"source": "another program"}
    content["values"]["clean"]["psnr"]["interval"] = [20.4, 20.6]
    content["made"]["tuning"] = {"trials": 3}
    content["made"]["origins"] = [{"device": "a CPU", "cpu": "x", "instructions": "AVX2", "threads": 1, "host": "y"}]
    return content


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_every_published_format_is_read(name: str) -> None:
    """A record of each format and set of fields that was ever published is read, under its old key."""
    text = (KEPT / f"{name}.json").read_bytes()
    protocol, metric, value, epochs = CONTENT[name]
    record = Record.from_json(text)
    assert record.run.key == json.loads(text)["key"]
    assert record.values[protocol][metric].value == value
    assert len(record.history) == epochs


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_published_record_is_rewritten_without_loss(name: str) -> None:
    """Written again, an old record has the same fields and values; only a missing digest is added."""
    content = json.loads((KEPT / f"{name}.json").read_bytes())
    again = json.loads(Record.from_json(json.dumps(content)).to_json())
    assert again.pop("digest") == content.pop("digest", None) or name.endswith("without_digest")
    assert again == content


def test_every_kept_record_is_tested() -> None:
    """Every kept example is tested."""
    assert {path.stem for path in KEPT.iterdir()} == set(CONTENT)


def test_a_record_without_a_format_is_of_the_first() -> None:
    """A missing format number means 1, with a digest and without one."""
    content = json.loads(a_record(a_run()).to_json())
    del content["format"], content["digest"]
    assert Record.from_json(signed(content)) == a_record(a_run())
    assert Record.from_json(json.dumps(content)) == a_record(a_run())


def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A newer format is one sentence with file, format and advice; it is no damage, so nothing is set aside."""
    store, run = ResultStore(tmp_path), a_run()
    store.write(a_record(run))
    store.write(a_record(a_run(seed=7)))
    path = store.folder(run) / "record.json"
    newer = signed({"format": FORMAT + 1, "layout": "another one"})
    path.write_text(newer)
    sentence = rf"record\.json: its format is {FORMAT + 1}, this vqbench reads formats up to {FORMAT}; upgrade vqbench$"
    for read in (store.read, store.mend):
        with pytest.raises(StoreError, match=sentence) as raised:
            read(run)
        assert not isinstance(raised.value, Damaged)
        assert "\n" not in str(raised.value)
    assert path.read_text() == newer
    assert [record.run.seed for record in store.records()] == [7]
    assert store.standing(run).startswith(f"unreadable: {path}: its format is {FORMAT + 1}")


@pytest.mark.parametrize("number", [-1, 1.5, "1", None, [1], True])
def test_a_format_that_is_no_count_is_damage(number: object) -> None:
    """Only a whole number is a format; anything else was not written by any version."""
    content = {**json.loads(a_record(a_run()).to_json()), "format": number}
    with pytest.raises(ValueError, match="format is"):
        Record.from_json(signed(content))


def test_unknown_fields_survive_a_rewrite(tmp_path: Path) -> None:
    """Fields that a later version added to the format survive reading, changing and writing."""
    store, content = ResultStore(tmp_path), later_record()
    path = store.folder(a_run()) / "record.json"
    path.parent.mkdir()
    path.write_text(signed(content))
    record = store.read(a_run())
    assert record is not None
    record.values["clean"]["psnr"].value = 21.0
    store.write(record)
    content["values"]["clean"]["psnr"]["value"] = 21.0
    assert json.loads(path.read_text()) == json.loads(signed(content))


def test_unknown_fields_survive_publishing(tmp_path: Path) -> None:
    """A record published over another of the same weights takes over the fields that it lacks."""
    store = ResultStore(tmp_path)
    store.write(Record.from_json(signed(later_record())))
    new = a_record(a_run())
    assert take_over(new, store) is None
    assert new.unknown == {"external": {"source": "another program"}}


@pytest.mark.parametrize("field", ["external", "digesu"])
def test_a_record_without_a_digest_has_no_further_fields(field: str) -> None:
    """The first records had neither, so a field beside the known ones is damage: it may be a misspelt digest."""
    content = json.loads(a_record(a_run()).to_json())
    content[field] = content.pop("digest")
    with pytest.raises(ValueError, match="its fields are"):
        Record.from_json(json.dumps(content))


def test_a_newer_format_is_a_store_error() -> None:
    """Commands that skip unreadable files skip a newer record too."""
    assert issubclass(NewerFormat, StoreError)
    assert not issubclass(NewerFormat, Damaged)
