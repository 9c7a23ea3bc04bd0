"""Damaged, hostile and unreadable files of a results folder: each is named and fails only its own run."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.store.test_store import a_record, a_run
from tests.support.soak import examples
from tests.support.tiny_suite import vqbench, write
from vqbench.errors import Damaged, StoreError, Unwritable
from vqbench.planning import loading, plan_file, suite_files
from vqbench.planning.plan import Plan
from vqbench.store import deletion, snapshots
from vqbench.store.record import Failure, Record, Value
from vqbench.store.results import ResultStore
from vqbench.system import files, locks, stored_files
from vqbench.system.stored_files import set_aside
from vqbench.training import checkpoint

# One random mutation -----------------------------------------------------------------------------------------------

Mutation = Callable[[bytes], bytes]


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """A flipped bit, a byte of another value, a cut, or bytes that are removed, doubled or put in."""
    place, length = draw(st.floats(0, 1, exclude_max=True)), draw(st.integers(1, 40))
    kind, value = draw(st.sampled_from(("flip", "set", "cut", "remove", "double", "insert"))), draw(st.integers(0, 255))

    def mutated(content: bytes) -> bytes:
        at = int(place * len(content))
        some, after = content[at : at + length], content[at + length :]
        flipped = bytes([content[at] ^ (1 << value % 8)])
        return {
            "flip": content[:at] + flipped + content[at + 1 :],
            "set": content[:at] + bytes([value]) + content[at + 1 :],
            "cut": content[:at],
            "remove": content[:at] + after,
            "double": content[:at] + some + some + after,
            "insert": content[:at] + bytes([value]) * length + content[at:],
        }[kind]

    return mutated


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mutations")


@examples()
@given(mutations())
def test_a_mutated_record_is_damaged_or_equal(folder: Path, mutate: Mutation) -> None:
    """Whatever one mutation makes of a record, it is read as it was or is Damaged; nothing else is raised."""
    store, record = ResultStore(folder), a_record(a_run())
    store.write(record)
    path = store.folder(record.run) / "record.json"
    path.write_bytes(mutate(path.read_bytes()))
    try:
        assert store.read(record.run) == record
    except Damaged:
        assert store.sound(record.run) is None
        assert "record.json" in store.damage[path]


@examples()
@given(mutations())
def test_a_mutated_checkpoint_is_damaged_or_equal(folder: Path, mutate: Mutation) -> None:
    """The same of a checkpoint with a digest, which torch alone would not notice."""
    path, state = folder / "last.pt", {"weight": torch.arange(6.0), "progress": {"step": 3, "history": [{"loss": 1.5}]}}
    checkpoint.write(path, state)
    path.write_bytes(mutate(path.read_bytes()))
    try:
        loaded = checkpoint.read(path)
    except Damaged:
        return
    assert loaded["progress"] == state["progress"]
    assert torch.equal(loaded["weight"], state["weight"])


@examples()
@given(st.binary(max_size=200), st.sampled_from((b"", b"PK\x03\x04", b"\x80\x02", b"\x80\x02}q\x00.")))
def test_garbage_is_no_checkpoint(folder: Path, content: bytes, begin: bytes) -> None:
    """Any other bytes, those that begin as an archive or a pickle among them, are Damaged and nothing else."""
    path = folder / "garbage.pt"
    path.write_bytes(begin + content)
    with pytest.raises(Damaged):
        checkpoint.read(path)


@examples()
@given(mutations(), st.booleans())
def test_mutated_arrays_are_damaged_or_arrays(folder: Path, mutate: Mutation, packed: bool) -> None:
    """An archive of arrays, packed or not, with one mutation is read or is no archive: ValueError alone is raised."""
    path, buffer = folder / "some.npz", io.BytesIO()
    (np.savez_compressed if packed else np.savez)(buffer, **{"clean/l1": np.arange(9.0), "groups": np.array(["same"])})  # type: ignore[arg-type]
    path.write_bytes(mutate(buffer.getvalue()))
    try:
        loaded = stored_files.arrays(path)
    except ValueError:
        return
    assert all(isinstance(array, np.ndarray) for array in loaded.values())


def npz(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def head(text: str) -> bytes:
    """The beginning of an ``.npy`` file with this header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


HOSTILE = {
    "objects": npz(a=head("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + b"x" * 8),
    "more than there is": npz(a=head("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}") + b"x" * 8),
    "a tokenizer's error": npz(a=head("{'descr': '<f8', 'shape': (((((((") + b"x" * 8),
    "no header": npz(a=b"\x93NUMPY\x01\x00"),
    "another compression": npz(a=b"x").replace(b"\x08\x00", b"\x63\x00"),
    "no archive": b"PK\x03\x04",
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_arrays(tmp_path: Path, content: bytes) -> None:
    """Arrays of objects, and headers that are false or break numpy's parser: ValueError, before memory is allocated."""
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        stored_files.arrays(tmp_path / "a.npz")


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive whose arrays unpack to more than the limit is refused, whatever sizes it declares."""
    monkeypatch.setattr(stored_files, "ARRAYS_LIMIT", 1000)
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(100_000))
    with pytest.raises(ValueError, match=r"unpacks to 0\.8 MB, more than are read"):
        stored_files.arrays(tmp_path / "bomb.npz")


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    """A FIFO, which would hang, a folder and a file that is too large are no records, and no checkpoints."""
    store, run = ResultStore(tmp_path), a_run()
    path = store.folder(run) / "record.json"
    path.parent.mkdir()
    os.mkfifo(path)
    with pytest.raises(Damaged, match="not a regular file"):
        store.read(run)
    with pytest.raises(Damaged, match="not a regular file"):
        checkpoint.read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(Damaged, match="not a regular file"):
        store.read(run)
    (tmp_path / "large").write_bytes(bytes(11))
    with pytest.raises(ValueError, match=r"more than the 0\.0 MB that are read"):
        stored_files.content(tmp_path / "large", 10)


# What the machine refuses is no damage ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError(), OSError(5, "I/O error")])
def test_a_read_error_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """What the system refuses to read, or has no memory for, may be sound: a StoreError that is not Damaged."""
    store = ResultStore(tmp_path)
    store.write(a_record(a_run()))
    checkpoint.write(tmp_path / "last.pt", {})

    def refused(*_: object) -> None:
        raise error

    monkeypatch.setattr(files, "open_regular", refused)
    for read in (lambda: store.read(a_run()), lambda: checkpoint.read(tmp_path / "last.pt")):
        with pytest.raises(StoreError, match="cannot be read") as raised:
            read()
        assert not isinstance(raised.value, Damaged)
    with pytest.raises(StoreError):
        store.mend(a_run())
    assert (store.folder(a_run()) / "record.json").exists(), "nothing is set aside"


def test_out_of_memory_while_loading_is_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's own ways to say that memory is short, when it loads and when weights are put in their place."""
    checkpoint.write(tmp_path / "last.pt", {})
    sentence = "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"

    def short(*_: object, **__: object) -> None:
        raise RuntimeError(sentence)

    monkeypatch.setattr(torch, "load", short)
    with pytest.raises(StoreError, match="out of memory") as raised:
        checkpoint.read(tmp_path / "last.pt")
    assert not isinstance(raised.value, Damaged)
    for error in (RuntimeError(sentence), torch.OutOfMemoryError("CUDA out of memory")):
        with pytest.raises(StoreError, match="out of memory"), checkpoint.restoring(tmp_path / "last.pt"):
            raise error


def test_a_checkpoint_of_another_run_is_damaged(tmp_path: Path) -> None:
    """A sound state that lacks a part, or has other shapes, is a damaged checkpoint; a fault of the device is not."""
    path = tmp_path / "last.pt"
    with pytest.raises(Damaged, match="not a checkpoint of this run"), checkpoint.restoring(path):
        {}["model"]
    with pytest.raises(Damaged, match="not a checkpoint of this run"), checkpoint.restoring(path):
        torch.nn.Linear(2, 2).load_state_dict({"weight": torch.zeros(3)})
    with pytest.raises(RuntimeError, match="CUDA error"), checkpoint.restoring(path):
        raise RuntimeError("CUDA error: device-side assert triggered")


def test_checkpoints_load_onto_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever they were written: Adam counts updates on the CPU, where a device need not be waited for."""
    checkpoint.write(tmp_path / "last.pt", {})
    where = []
    monkeypatch.setattr(torch, "load", lambda *_, map_location, **__: where.append(map_location) or {})
    checkpoint.read(tmp_path / "last.pt")
    assert where == ["cpu"]


def test_a_damaged_file_does_not_replace_another(tmp_path: Path) -> None:
    """Setting a file aside keeps earlier ones of that name."""
    for content in ("first", "second"):
        (tmp_path / "record.json").write_text(content)
        set_aside(tmp_path / "record.json")
    assert (tmp_path / "record.json.damaged").read_text() == "first"
    assert (tmp_path / "record.json.damaged.2").read_text() == "second"


# Records that are not what they should be -------------------------------------------------------------------------


def changed(text: str, **fields: object) -> str:
    """A record with other fields, without a digest."""
    content = {**json.loads(text), **fields}
    del content["digest"]
    return json.dumps(content)


WRONG = {
    "made is a list": {"made": []},
    "seconds are a word": {"made": {"seconds": "1"}},
    "seconds are true": {"made": {"seconds": True}},
    "versions are a list": {"made": {"seconds": 1, "versions": ["2"]}},
    "an origin lacks its CPU": {"made": {"seconds": 1, "origins": [{"device": "a"}]}},
    "measured is no list": {"made": {"seconds": 1, "measured": {"metrics": 1}}},
    "an epoch is a list": {"history": [[]]},
    "a loss is a word": {"history": [{"epoch": 1, "loss": "low"}]},
    "an epoch is a word": {"history": [{"epoch": "1"}]},
    "a number of 400 digits": {"values": {"clean": {"l1": {"value": 10**400, "images": 1}}}},
    "a value without its images": {"values": {"clean": {"l1": {"value": 1.0}}}},
    "another field": {"module": "os"},
    "another run's key": {"key": "0" * 16},
    "a run without a quantizer": {"run": {}},
}


@pytest.mark.parametrize("fields", WRONG.values(), ids=WRONG)
def test_a_record_is_held_to_its_schema(tmp_path: Path, fields: dict[str, object]) -> None:
    """Wrong types and missing fields of a record without a digest are Damaged, with the name of the field."""
    store = ResultStore(tmp_path)
    store.write(a_record(a_run()))
    path = store.folder(a_run()) / "record.json"
    path.write_text(changed(path.read_text(), **fields))
    with pytest.raises(Damaged, match=r"record\.json: not a record of vqbench"):
        store.read(a_run())


def test_a_record_that_names_a_path_is_refused(tmp_path: Path) -> None:
    """A data set called ../../x would put the run's folder outside of the store."""
    store = ResultStore(tmp_path)
    store.write(a_record(a_run()))
    path = store.folder(a_run()) / "record.json"
    run = json.loads(path.read_text())["run"]
    run["dataset"]["name"] = "../../x"
    path.write_text(changed(path.read_text(), run=run))
    with pytest.raises(Damaged, match="not a plugin's name"):
        store.read(a_run())


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"[" * 100_000, b'{"format": NaN}', b'{"a": "\\ud800"}', b"1e999"])
def test_what_json_readers_stumble_over(tmp_path: Path, content: bytes) -> None:
    """Not UTF-8, nested too deeply, NaN, half a character: each is Damaged and names the file."""
    store = ResultStore(tmp_path)
    for name in ("record.json", "failed.json"):
        path = store.folder(a_run()) / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    with pytest.raises(Damaged, match=r"record\.json"):
        store.read(a_run())
    with pytest.raises(Damaged, match=r"failed\.json"):
        store.failure(a_run())


def test_numbers_that_json_lacks_survive_in_a_history(tmp_path: Path) -> None:
    """NaN and infinity in a history are written as words and read as numbers; numpy's and torch's numbers are plain."""
    epoch = {"epoch": np.int64(1), "selection_error": float("nan"), "loss": float("inf"), "error": torch.tensor(0.5)}
    record = Record(a_run(), {}, a_record(a_run()).made, [epoch])
    store = ResultStore(tmp_path)
    store.write(record)
    assert '"selection_error": "nan"' in (store.folder(a_run()) / "record.json").read_text()
    read = store.read(a_run())
    assert read is not None
    assert str(read.history) == "[{'epoch': 1, 'error': 0.5, 'loss': inf, 'selection_error': nan}]"


# One damaged file anywhere ----------------------------------------------------------------------------------------


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write(tmp_path, "vq, cvq")


@pytest.fixture
def plan(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A store with both runs of the suite, and one of another suite."""
    monkeypatch.setattr(suite_files, "folders", list)  # no other suite is resolved to see what it shares
    loaded, store = loading.load(suite, []), ResultStore(tmp_path / "runs")
    made = {**a_record(a_run()).made, "measured": []}
    values = {"clean": {name: Value(0.5, 1, 1, 1000) for name in ("l1", "psnr", "usage")}}
    for run in [*loaded.runs(), a_run()]:
        store.write(Record(run, values, made, [{"epoch": 1, "loss": 0.5, "selection_error": 0.5}]))
        store.write_images(run, {"clean/l1": np.ones(1000)})
    plan_file.save(loaded, store)
    return loaded


def harm(store: ResultStore, run: object, name: str, content: bytes) -> Path:
    path = store.root / name if name.startswith("suites") else store.folder(run) / name  # type: ignore[arg-type]
    path.write_bytes(content)
    return path


HARM = (b"{", b"\xff", b"[" * 100_000, b'{"format": 1, "made": []}')
COMMANDS = ("plan", "plan --cost", "status", "table", "report", "report --index", "diff", "explain")


@pytest.mark.parametrize("name", ["record.json", "per_image.npz", "portrait.npz", "curves.npz", "suites/tiny.json"])
@pytest.mark.parametrize("command", COMMANDS)
def test_one_damaged_file_costs_its_run_alone(
    plan: Plan, suite: Path, tmp_path: Path, name: str, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that reads shows the other run, and none calls one damaged file a fault of vqbench."""
    store = ResultStore(tmp_path / "runs")
    first, _ = plan.runs()
    for content in HARM if command in ("plan", "status", "table") else HARM[1:2]:
        path = harm(store, first, name, content)
        words = [*command.split(), suite, "--store", store.root]
        if command == "diff":
            words = ["diff", store.root, store.root]
        if command == "explain":
            words = ["explain", first.key, "--store", store.root]
        if command.startswith("report"):
            words += ["-o", tmp_path / "out", "--results", tmp_path / "none"]
        capsys.readouterr()
        code = vqbench(*words)
        shown = capsys.readouterr()
        assert "fault of vqbench" not in shown.err
        assert code in (0, 1)
        if command in ("plan", "table", "status") and name == "record.json":
            assert "cvq" in shown.out
            assert f"damaged: {path}" in " ".join(shown.out.split()) or str(path) in shown.err
        if command == "report --index" and name == "suites/tiny.json":
            assert str(path) in shown.err


@pytest.mark.parametrize("content", HARM)
def test_a_damaged_record_of_another_suite_is_named(
    plan: Plan, suite: Path, tmp_path: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan`, `plan --cost`, `diff` and `run` name it, continue, and show the rest as usual."""
    store = ResultStore(tmp_path / "runs")
    path = harm(store, a_run(), "record.json", content)
    commands = [["plan", suite], ["plan", suite, "--cost"], ["run", suite], ["table", suite]]
    for words, named in zip(commands, (True, True, False, False), strict=True):
        assert vqbench(*words, "--store", store.root) == 0
        assert (str(path) in capsys.readouterr().err) == named, words
    assert vqbench("diff", store.root, store.root) == 1
    assert str(path) in capsys.readouterr().err


def test_a_resolved_suite_names_no_module(plan: Plan, suite: Path, tmp_path: Path) -> None:
    """What a cached suite says it was resolved from can import nothing, and one that does so is resolved again."""
    path = tmp_path / "runs" / "suites" / "tiny.json"
    content = json.loads(path.read_text())
    del content["digest"]
    for plugin in ("x/../this", "antigravity/x", "quantizers/../../x", "quantizers", "/"):
        path.write_text(json.dumps({**content, "inputs": {**content["inputs"], "plugins": {plugin: None}}}))
        again = loading.load(suite, [ResultStore(tmp_path / "runs")])
        assert again.runs() == plan.runs()
    assert not {"antigravity", "this"} & sys.modules.keys()


@examples()
@given(mutations())
def test_a_mutated_suite_is_read_as_it_was_or_not_at_all(suites: tuple[ResultStore, Plan], mutate: Mutation) -> None:
    """A resolved suite with one mutation is the same suite, or is noted as damage."""
    store, plan = suites
    plan_file.save(plan, store)
    path = store.root / "suites" / "tiny.json"
    path.write_bytes(mutate(path.read_bytes()))
    store.damage.clear()
    found = plan_file.stored(store)
    assert bool(found) != bool(store.damage)
    assert all(each.runs() == plan.runs() and each.metrics == plan.metrics for each in found)


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResultStore, Plan]:
    folder = tmp_path_factory.mktemp("suites")
    return ResultStore(folder / "runs"), loading.load(write(folder, "vq, cvq"), [])


@examples()
@given(mutations(), st.data())
def test_commands_on_a_store_with_one_mutation(
    stored: tuple[ResultStore, Plan, Path], mutate: Mutation, data: st.DataObject
) -> None:
    """Whatever file of a store is mutated, commands that read end with 0 or 1, and never by a fault of vqbench."""
    store, _, suite = stored
    path = data.draw(st.sampled_from(sorted(store.root.glob("*/*.[jn][sp][oz]*"))))
    word = data.draw(st.sampled_from(("status", "table", "diff")))
    sound = path.read_bytes()
    path.write_bytes(mutate(sound))
    output = io.StringIO()
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(output):
            code = vqbench(word, store.root if word == "diff" else suite, *(["--store"] * (word != "diff")), store.root)
    finally:
        path.write_bytes(sound)
    assert code in (0, 1), output.getvalue()
    assert "fault of vqbench" not in output.getvalue()


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[ResultStore, Plan, Path]:
    """A store with a finished run, a failed one, and one of another suite."""
    folder = tmp_path_factory.mktemp("stored")
    suite = write(folder, "vq, cvq")
    plan, store = loading.load(suite, []), ResultStore(folder / "runs")
    values = {"clean": {name: Value(0.5, 1, 1, 1000) for name in ("l1", "psnr", "usage")}}
    for run in (plan.runs()[0], a_run()):
        store.write(Record(run, values, a_record(a_run()).made, [{"epoch": 1, "loss": 0.5}]))
        store.write_images(run, {"clean/l1": np.ones(1000)})
        snapshots.write(store.folder(run), snapshots.UsageHistory(np.zeros((3, 4), np.uint8), 1, 1))
    store.fail(plan.runs()[1], Failure("NaN", ["last line"]))
    plan_file.save(plan, store)
    return store, plan, suite


def test_publish_leaves_out_what_is_damaged(
    plan: Plan, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The intact run is published; the damaged one is named, with exit code 1."""
    harm(ResultStore(tmp_path / "runs"), plan.runs()[0], "record.json", b"{")
    assert vqbench("publish", suite, "--store", tmp_path / "runs", "--results", tmp_path / "results") == 1
    output = capsys.readouterr().err
    assert "1 of 2 runs" in output
    assert "record.json" in output
    assert len(list(tmp_path.glob("results/*/record.json"))) == 1


def test_snapshots_are_held_to_their_schema(tmp_path: Path) -> None:
    """Arrays of other shapes than a page is drawn from are Damaged, not an error of the page."""
    sound = snapshots.UsageHistory(np.zeros((3, 4), np.uint8), 1, 1)
    snapshots.write(tmp_path, sound)
    assert snapshots.read_usage(tmp_path) is not None
    for wrong in ({"shades": np.zeros(3, np.uint8)}, {"depth": np.zeros(2)}, {"shades": np.zeros((3, 4))}, {"more": 1}):
        arrays = {"shades": sound.shades, "depth": 1, "merged": 1, **wrong}
        np.savez_compressed(tmp_path / "curves.npz", **{name: np.asarray(each) for name, each in arrays.items()})  # type: ignore[arg-type]
        with pytest.raises(Damaged, match=r"curves\.npz"):
            snapshots.read_usage(tmp_path)


# Nothing outside of the store is deleted --------------------------------------------------------------------------


def test_clean_does_not_leave_the_store(
    plan: Plan, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Links to files, to folders of samples and to whole runs stay, with what they lead to; the rest is listed."""
    store, outside = ResultStore(tmp_path / "runs"), tmp_path / "outside"
    first, second = map(store.folder, plan.runs())
    (outside / "run").mkdir(parents=True)
    for name in ("best.pt", "run/record.json", "run/best.pt", "1.npy"):
        (outside / name).write_bytes(b"x")
    (first / "last.pt").write_bytes(b"own")
    (first / "best.pt").symlink_to(outside / "best.pt")
    (first / "samples-n=1.parts").symlink_to(outside)
    for path in [*second.iterdir()]:
        path.unlink()
    second.rmdir()
    second.symlink_to(outside / "run")
    before = sorted(outside.rglob("*"))
    for words in ((), ("--yes",)):
        assert vqbench("clean", suite, "--store", store.root, *words) == 0
        shown = capsys.readouterr()
        assert shown.out.splitlines() == [f"{first / 'last.pt'}: 0.0 MB"]
        assert f"{second / 'best.pt'}: left" in shown.err
    assert sorted(outside.rglob("*")) == before
    assert not (first / "last.pt").exists()
    assert (first / "best.pt").is_symlink()


def test_delete_follows_no_link(tmp_path: Path) -> None:
    """Neither a link in the folder, nor a way through one, nor .. leads a deletion out."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    for each in (inside, outside / "sub"):
        each.mkdir(parents=True)
    (outside / "file").write_text("x")
    (inside / "link").symlink_to(outside)
    paths = [inside / "link", inside / "link" / "file", inside / ".." / "out" / "file", outside / "sub"]
    assert deletion.delete(inside, paths) == paths
    assert sorted(path.name for path in outside.iterdir()) == ["file", "sub"]


# Leftovers of killed processes --------------------------------------------------------------------------------------


def test_what_a_killed_process_leaves_is_removed_and_named(
    plan: Plan, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run` removes half-written files and empty folders, also of other suites; checkpoints and locked runs stay."""
    store, seeds = ResultStore(tmp_path / "runs"), (7, 8, 9)
    own = store.folder(plan.runs()[0])
    (own / ".last.pt.4711").write_bytes(b"half")
    (own / "best.pt").write_bytes(b"kept")
    empty, begun, locked = (store.folder(a_run(seed)) for seed in seeds)
    for folder in (empty, begun, locked):
        folder.mkdir()
        (folder / "lock").touch()
    (begun / "last.pt").write_bytes(b"kept")
    (begun / "samples-n=1.parts").mkdir()
    (begun / "samples-n=1.parts" / ".000001.npy.4711").write_bytes(b"half")
    fresh, old = (store.root / "suites" / f".other.json.{number}" for number in (4711, 4712))
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    with store.lock(a_run(9)):
        assert vqbench("run", suite, "--store", store.root) == 0
    output = capsys.readouterr().err
    gone = [own / ".last.pt.4711", begun / "samples-n=1.parts" / ".000001.npy.4711", empty, old]
    for path in gone:
        assert f"{path}: removed" in output
        assert not path.exists()
    assert output.count(": removed") == len(gone)
    assert (own / "best.pt").exists()
    assert (begun / "last.pt").exists()
    assert locked.exists()
    assert fresh.exists(), "another process may be writing it now"


def test_a_lock_that_was_removed_is_created_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that gets the lock of a folder which another has just removed takes a new one, which others see."""
    import filelock

    acquire, calls = filelock.FileLock.acquire, []

    def late(self: filelock.FileLock, **options: float) -> object:
        loaded = acquire(self, **options)  # type: ignore[arg-type]
        calls.append(1)
        if len(calls) == 1:
            (tmp_path / "run" / "lock").unlink()
        return loaded

    monkeypatch.setattr(filelock.FileLock, "acquire", late)
    with locks.lock_folder(tmp_path / "run") as locked:
        assert locked
        assert locks.is_locked(tmp_path / "run")
    assert len(calls) == 2


def test_status_needs_no_right_to_write(
    plan: Plan, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a read-only store, `status` shows runs that are done, running, failed and stopped."""
    store = ResultStore(tmp_path / "runs")
    first, second = plan.runs()
    for run in (first, second):
        (store.folder(run) / "record.json").unlink()
    store.fail(first, Failure("NaN", []))
    (store.folder(first) / "lock").touch()

    def refused(*_: object) -> None:
        raise Unwritable("read-only")

    with store.lock(second):
        monkeypatch.setattr(locks, "lock_folder", refused)
        assert vqbench("status", suite, "--store", store.root) == 0
    shown = capsys.readouterr().out
    assert "failed: NaN" in shown
    assert "running" in shown
