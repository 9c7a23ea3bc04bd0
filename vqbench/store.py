"""Records on disk: one folder a run, whose record is written last, by rename; its presence means the run is whole."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.errors import Damaged, StoreError, Unwritable, UsageError, nearest
from vqbench.spec import RunSpec

FORMAT = 1  # raised when the layout of record.json changes
SOME = 10  # runs that one sentence names
LOG_LINES = 12  # of a failed run, kept with the reason


@dataclass
class Value:
    """One measured number, and which state of the metric's and the protocol's code measured it."""

    value: float | None  # None where the metric says nothing about such a run
    metric_version: int
    protocol_version: int
    images: int  # how many pictures were counted


@dataclass
class Record:
    """What is known of one finished run."""

    run: RunSpec
    values: dict[str, dict[str, Value]]  # protocol -> metric -> value
    made: dict[str, Any]  # by which commit, versions, device, in how many seconds; "measured": likewise, each time
    history: list[dict[str, Any]] = field(default_factory=list)  # one mapping an epoch

    def to_json(self) -> str:
        def plain(value: Value) -> dict[str, Any]:
            """JSON has no infinity (the PSNR of a perfect picture), so such a number is written as a word."""
            number = value.value
            finite = number is None or math.isfinite(number)
            return {**asdict(value), "value": number if finite else str(number)}

        content = {
            "format": FORMAT,
            "key": self.run.key,
            "run": self.run.to_dict(),
            "values": {p: {m: plain(v) for m, v in metrics.items()} for p, metrics in self.values.items()},
            "made": self.made,
            "history": self.history,
        }
        content["digest"] = _digest(content)
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Record:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this version reads {FORMAT}")
        if content.pop("digest", None) not in (None, _digest(content)):  # the first records were written without one
            raise ValueError("its content does not fit its digest")
        values = {p: {m: cls._value(v) for m, v in metrics.items()} for p, metrics in content["values"].items()}
        return cls(RunSpec.from_dict(content["run"]), values, content["made"], content["history"])

    @staticmethod
    def _value(written: dict[str, Any]) -> Value:
        number = written["value"]
        return Value(**{**written, "value": float(number) if isinstance(number, str) else number})


@dataclass(frozen=True)
class Failure:
    """Why a run did not finish."""

    reason: str
    log: list[str]


def _some(names: list[str]) -> str:
    return ", ".join(names[:SOME]) + (", ..." if len(names) > SOME else "")


def _digest(content: dict[str, Any]) -> str:
    """Sha256 of the rest of a record, by which a changed one is known."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def _told(path: Path, doing: str) -> Iterator[None]:
    """Turn an operating system's complaint into a sentence; what was there stays as it was."""
    try:
        yield
    except OSError as error:
        kind = Unwritable if doing == "write" else StoreError
        raise kind(f"{path}: cannot {doing} ({error.strerror or error}); free space or mend its permissions") from error


def set_aside(path: Path) -> Path:
    """Give a damaged file another name, so that it can be looked at but serves no more; the new name."""
    aside = path.with_name(f"{path.name}.damaged")
    with _told(path, "write"):
        os.replace(path, aside)
    return aside


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old content or the new, never a part, also after a power cut.

    ``content`` may come in pieces, one after the other.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with _told(path, "write"):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(scratch, "wb") as file:
                file.writelines(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def lacking(record: Record | None, wanted: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, list[str]]:
    """Which of the ``wanted`` numbers (protocol -> metric -> (metric's, protocol's version)) a record does not hold."""
    values = record.values if record else {}
    missing: dict[str, list[str]] = {}
    for protocol, metrics in wanted.items():
        for metric, versions in metrics.items():
            value = values.get(protocol, {}).get(metric)
            if value is None or (value.metric_version, value.protocol_version) != versions:
                missing.setdefault(protocol, []).append(metric)
    return missing


class ResultStore:
    """A results folder: ``ROOT/DATASET-QUANTIZER-KEY/`` a run, and ``ROOT/suites/`` for what each suite resolved to."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root}: not a folder; name another results folder with --store")

    def folder(self, run: RunSpec) -> Path:
        return self.root / f"{run.dataset.name}-{run.quantizer.name}-{run.key}"

    def __contains__(self, run: RunSpec) -> bool:
        return (self.folder(run) / "record.json").exists()

    def read(self, run: RunSpec) -> Record | None:
        """The record of ``run``, or None if it has not finished here. Raises StoreError if it cannot be read."""
        return self._read(self.folder(run) / "record.json")

    def records(self) -> Iterator[Record]:
        """All records of the folder, by name."""
        for path in sorted(self.root.glob("*/record.json")):
            record = self._read(path)
            if record is not None:
                yield record

    def find(self, name: str) -> Record:
        """The finished run called ``name``: its key, the beginning of its key, or its folder's name.

        Raises UsageError if there is none, or more than one.
        """
        keys = {path.parent.name: path.parent.name.rpartition("-")[2] for path in self.root.glob("*/record.json")}
        called = sorted(folder for folder, key in keys.items() if name and (name == folder or key.startswith(name)))
        if len(called) > 1:
            raise UsageError(f"{name!r} begins the keys of {len(called)} runs of {self.root}: {_some(called)}")
        if not called:
            close = f"; {nearest(name, sorted(keys))}" if len(keys) <= SOME else "; `vqbench plan SUITE` tells the keys"
            raise UsageError(f"{self.root} holds no finished run {name!r}{close}")
        record = self._read(self.root / called[0] / "record.json")
        if record is None or self.folder(record.run).name != called[0]:
            raise StoreError(f"{self.root / called[0]}: its record is of another run; was the folder renamed?")
        return record

    @staticmethod
    def _read(path: Path) -> Record | None:
        with _told(path, "read"):
            try:
                text = path.read_text()
            except FileNotFoundError:
                return None
        try:
            return Record.from_json(text)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Damaged(
                f"{path}: not a record of vqbench ({error}); `vqbench run` sets it aside and does the run again"
            ) from error

    def write(self, record: Record) -> None:
        """Store ``record``; from now on its run counts as done. An earlier failure of the run is forgotten."""
        folder = self.folder(record.run)
        write_atomically(folder / "record.json", record.to_json().encode())
        (folder / "failed.json").unlink(missing_ok=True)

    def missing(self, run: RunSpec, wanted: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, list[str]]:
        """Which of the ``wanted`` numbers (protocol -> metric -> (metric's, protocol's version)) are not stored."""
        return lacking(self.read(run), wanted)

    # Values of each picture, for paired statistics: one .npz a run, arrays named "protocol/metric".

    def write_images(self, run: RunSpec, arrays: Mapping[str, np.ndarray]) -> None:
        """Add per-image values to those that are stored of ``run``."""
        merged = {**self.read_images(run), **arrays}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: merged[name].astype(np.float32) for name in sorted(merged)})  # type: ignore[arg-type]
        write_atomically(self.folder(run) / "per_image.npz", buffer.getvalue())

    def read_images(self, run: RunSpec) -> dict[str, np.ndarray]:
        path = self.folder(run) / "per_image.npz"
        if not path.exists():
            return {}
        with _told(path, "read"):
            try:
                with np.load(path) as stored:
                    return dict(stored)
            except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                raise Damaged(
                    f"{path}: damaged ({error}); delete it and the record beside it, and `vqbench run` measures again"
                ) from error

    # Failures are kept, so that a table can say why a cell is empty.

    def fail(self, run: RunSpec, failure: Failure) -> None:
        write_atomically(self.folder(run) / "failed.json", (json.dumps(asdict(failure), indent=1) + "\n").encode())

    def failure(self, run: RunSpec) -> Failure | None:
        path = self.folder(run) / "failed.json"
        try:
            return Failure(**json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise Damaged(f"{path}: cannot be read ({error}); delete it to try the run again") from error

    def mend(self, run: RunSpec) -> list[str]:
        """Set aside what is damaged of ``run``, so that it is done again; one sentence each. Only for who holds it.

        Values of pictures and their means belong together: where the former are damaged, the record goes as well.
        """
        told: list[str] = []
        folder = self.folder(run)
        readers = {"failed.json": self.failure, "per_image.npz": self.read_images, "record.json": self.read}
        for name, read in readers.items():
            try:
                read(run)
            except Damaged as error:
                gone = [name, "record.json"] if name == "per_image.npz" else [name]
                there = [folder / each for each in gone if (folder / each).exists()]
                told.extend(f"{error}; {path.name} is now {set_aside(path).name}" for path in there)
        return told

    @contextmanager
    def lock(self, run: RunSpec) -> Iterator[bool]:
        """Hold the run for this process; yields whether it is held. The system frees it if the process dies.

        These are flock's locks, which NFS (from version 4) and a Lustre mounted with ``flock`` keep between
        machines. Where there is no flock, filelock makes marker files instead, and clears those of processes that
        died on the same machine; one left by another machine must be deleted by hand. Where a mount keeps locks on
        each machine alone (``local_lock``), two machines may do a run twice: a loss of time, since each file is
        written whole.
        """
        from filelock import FileLock, Timeout

        folder = self.folder(run)
        with _told(folder, "write"):
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / "lock")
            try:
                with suppress(Timeout):
                    lock.acquire(timeout=0)
            except NotImplementedError as error:  # by versions of filelock that make no markers
                raise Unwritable(f"{folder}: no locks on this file system; name another --store") from error
        try:
            yield lock.is_locked
        finally:
            lock.release()

    def is_locked(self, run: RunSpec) -> bool:
        """Whether some process works on ``run`` at this moment."""
        if not (self.folder(run) / "lock").exists():
            return False
        with self.lock(run) as held:
            return not held
