"""The index of records: unchanged ones are not read again, and nothing is ever seen otherwise than without it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.store.test_store import a_record, a_run
from tests.support.tiny_suite import vqbench
from vqbench.planning import loading
from vqbench.store import record_index
from vqbench.store.record import Value
from vqbench.store.record_summary import RecordSummary
from vqbench.store.results import ResultStore

PUBLISHED = Path(__file__).parents[2] / "results"
SEEDS = range(6)
FIRST, SECOND = (f"mnist-vq-{a_run(seed).key}" for seed in (0, 1))


@pytest.fixture(autouse=True)
def always_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """An index also of few records, and of those that were written just now."""
    monkeypatch.setattr(record_index, "FEWEST", 1)
    monkeypatch.setattr(record_index, "SETTLED", -(10**15))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A results folder with six records."""
    store = ResultStore(tmp_path / "runs")
    for seed in SEEDS:
        store.write(a_record(a_run(seed)))
    return store.root


def seen(root: Path, index: Path | None) -> tuple[list[RecordSummary], dict[Path, str]]:
    """What planning is given of the records, and which files are damaged."""
    store = ResultStore(root, index)
    return store.summaries(), store.damage


def read_with(root: Path, index: Path | None) -> list[str]:
    """The names of the folders whose records are read."""
    store, names = ResultStore(root), []

    def read(path: Path) -> object:
        names.append(path.parent.name)
        return store._sound(path)

    record_index.summaries(root, index, read)  # type: ignore[arg-type]
    return names


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_unchanged_records_are_not_read_again(root: Path, tmp_path: Path) -> None:
    """The second call reads nothing, sees the same, and neither call writes into the results folder."""
    before = files_of(root)
    assert len(read_with(root, tmp_path / "cache")) == len(SEEDS)
    assert read_with(root, tmp_path / "cache") == []
    assert seen(root, tmp_path / "cache") == seen(root, None)
    assert files_of(root) == before
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_summaries_of_published_records_are_exact(tmp_path: Path) -> None:
    """From the index, the summary of every published record has the same types and digits as from the record."""
    assert read_with(PUBLISHED, tmp_path)
    assert read_with(PUBLISHED, tmp_path) == []
    kept = ResultStore(PUBLISHED, tmp_path).summaries()
    fresh = [RecordSummary.of(record) for record in ResultStore(PUBLISHED).records()]
    assert [repr(each) for each in kept] == [repr(each) for each in fresh]
    assert all(each.run.key == replace(each.run).key for each in kept), "a key is still the hash of its run"


def other_version(root: Path) -> None:
    record = a_record(a_run(0))
    record.values["clean"]["psnr"] = Value(20.5, 2, 1, 1000)
    ResultStore(root).write(record)


def same_size_and_time(root: Path) -> None:
    """Edit a record in place so that neither its size nor the time of its content differs."""
    path = root / FIRST / "record.json"
    status = path.stat()
    path.write_bytes(path.read_bytes().replace(b"20.5", b"20.6"))  # the digest no longer fits
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (status.st_size, status.st_mtime_ns)


def put_by_hand(root: Path) -> None:
    store = ResultStore(root.parent / "other")
    store.write(a_record(a_run(99)))
    shutil.copytree(store.folder(a_run(99)), root / store.folder(a_run(99)).name)


def exchanged(root: Path) -> None:
    (root / FIRST).rename(root / "aside")
    (root / SECOND).rename(root / FIRST)
    (root / "aside").rename(root / SECOND)


def not_a_file(root: Path) -> None:
    (root / FIRST / "record.json").unlink()
    (root / FIRST / "record.json").mkdir()


CHANGES: dict[str, Callable[[Path], object]] = {
    "written anew": other_version,
    "edited, with size and time as before": same_size_and_time,
    "truncated": lambda root: os.truncate(root / FIRST / "record.json", 100),
    "removed": lambda root: (root / FIRST / "record.json").unlink(),
    "its folder removed": lambda root: shutil.rmtree(root / FIRST),
    "its folder renamed": lambda root: (root / FIRST).rename(root / "copy"),
    "two folders exchanged": exchanged,
    "put by hand": put_by_hand,
    "a folder in its place": not_a_file,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_record_is_seen_as_without_the_index(root: Path, tmp_path: Path, change: str) -> None:
    """Whatever was done to a record, its summary and the message on its damage are those of the file, twice."""
    before = seen(root, tmp_path / "cache")
    CHANGES[change](root)
    without = seen(root, None)
    assert repr(without) != repr(before) or change == "two folders exchanged"
    assert seen(root, tmp_path / "cache") == without
    assert seen(root, tmp_path / "cache") == without
    damaged = {path.parent.name for path in without[1]}
    assert set(read_with(root, tmp_path / "cache")) == damaged, "of the others, nothing is read any more"


def test_a_record_that_changed_just_now_is_read_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a second change may leave size and times as they are, a record is not trusted to the index."""
    monkeypatch.setattr(record_index, "SETTLED", 10**15)
    assert len(read_with(root, tmp_path)) == len(read_with(root, tmp_path)) == len(SEEDS)


def test_few_records_have_no_index(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose records are read at once leaves nothing in the cache."""
    monkeypatch.setattr(record_index, "FEWEST", len(SEEDS) + 1)
    assert len(read_with(root, tmp_path / "cache")) == len(SEEDS)
    assert not (tmp_path / "cache").exists()


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def with_its_digest(path: Path, body: bytes) -> None:
    path.write_bytes(record_index._head(body) + b"\n" + body)


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


FAULTS: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: rewrite(path, lambda content: content[:-20]),
    "empty": lambda path: path.write_bytes(b""),
    "another number in it": lambda path: rewrite(path, lambda content: content.replace(b'"threads":1', b'"threads":9')),
    "of another format": lambda path: rewrite(path, lambda content: content.replace(b"format 1", b"format 2")),
    "no JSON, whole": lambda path: with_its_digest(path, b"{"),
    "a list, whole": lambda path: with_its_digest(path, b"[]"),
    "without parts, whole": lambda path: with_its_digest(
        path, json.dumps({"parts": [], "values": [], "made": [], "records": {FIRST: [[1, 1, 1, 1]]}}).encode()
    ),
    "a folder": lambda path: replaced(path, Path.mkdir),
    "a pipe": lambda path: replaced(path, os.mkfifo),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_index_is_none(root: Path, tmp_path: Path, fault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All records are read anew without a word, and the index is written again unless a folder is in its place."""
    assert read_with(root, tmp_path / "cache")
    (path,) = (tmp_path / "cache").iterdir()
    FAULTS[fault](path)
    assert len(read_with(root, tmp_path / "cache")) == len(SEEDS)
    assert read_with(root, tmp_path / "cache") == ([] if fault != "a folder" else read_with(root, None))
    assert seen(root, tmp_path / "cache") == seen(root, None)
    assert capsys.readouterr() == ("", "")


def test_an_index_of_other_code_is_none(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another version took for sound is read again, since this one may not."""
    assert read_with(root, tmp_path)
    monkeypatch.setattr(record_index, "_code", lambda: b"other")
    assert len(read_with(root, tmp_path)) == len(SEEDS)
    assert read_with(root, tmp_path) == []


def test_an_index_that_cannot_be_written_is_done_without(root: Path, tmp_path: Path) -> None:
    """A file in place of the folder of indexes costs time alone."""
    (tmp_path / "file").write_text("")
    assert seen(root, tmp_path / "file") == seen(root, tmp_path / "file") == seen(root, None)


def test_each_results_folder_has_its_own(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is known by its real path: by a link or from elsewhere it is the same, and a copy is another."""
    assert read_with(root, tmp_path / "cache")
    (tmp_path / "link").symlink_to(root)
    assert read_with(tmp_path / "link", tmp_path / "cache") == []
    monkeypatch.chdir(root.parent)
    assert read_with(Path(root.name), tmp_path / "cache") == []
    shutil.copytree(root, tmp_path / "copy")
    assert len(read_with(tmp_path / "copy", tmp_path / "cache")) == len(SEEDS)


def test_several_at_once(root: Path, tmp_path: Path) -> None:
    """Readers that write the index of one folder at once, while its records change, see what the files have."""
    store, cache = ResultStore(root), tmp_path / "cache"
    with ThreadPoolExecutor(4) as pool:
        for seed in range(10, 20):
            store.write(a_record(a_run(seed)))
            without = seen(root, None)
            (store.folder(a_run(seed - 1)) / "unrelated").mkdir(parents=True, exist_ok=True)
            assert all(each == without for each in pool.map(lambda _: seen(root, cache), range(8)))
    assert seen(root, cache) == seen(root, None)
    assert read_with(root, cache) == []


@pytest.mark.integration
def test_plan_prints_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With an index, `plan` prints the same states, seconds and sentences on damaged records, also the second time."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    published, store = ResultStore(PUBLISHED), ResultStore(tmp_path / "runs")
    runs = [run for run in loading.load("quick", [published]).runs() if run in published]
    for run in runs[1:]:
        shutil.copytree(published.folder(run), store.folder(run))
    damaged = store.folder(runs[1]) / "record.json"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    unrelated = store.root / "other" / "record.json"
    unrelated.parent.mkdir()
    unrelated.write_text("[]")
    line = ("plan", "quick", "--store", store.root, "--results", PUBLISHED)
    monkeypatch.setattr(record_index, "FEWEST", 10**9)
    assert vqbench(*line) == 0  # resolves what it needs, and says so
    capsys.readouterr()
    for more in ((), ("--cost",)):
        shown = []
        for fewest in (10**9, 1, 1):
            monkeypatch.setattr(record_index, "FEWEST", fewest)
            assert vqbench(*line, *more) == 0
            shown.append(capsys.readouterr())
        assert shown[0] == shown[1] == shown[2]
        assert str(unrelated) in shown[0].err
        assert list((tmp_path / "cache/records").iterdir())
        with monkeypatch.context() as context:
            context.setattr(record_index, "summaries", lambda *_: [])
            assert vqbench(*line, *more) == 0
            assert capsys.readouterr() != shown[0], "what is printed comes from the summaries"


def test_the_cost_of_a_plan_reads_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plan --cost` takes the summaries of both folders once, though an estimate and a forecast need them."""
    read = []
    summaries = record_index.summaries
    monkeypatch.setattr(record_index, "summaries", lambda root, *rest: read.append(root) or summaries(root, *rest))
    store = tmp_path / "runs"
    store.mkdir()
    assert vqbench("plan", "quick", "--cost", "--store", store, "--results", PUBLISHED) == 0
    assert sorted(read) == sorted([store, PUBLISHED])
