"""Records on disk: one folder a run, whose record is written last, by rename; its presence means the run is whole."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.errors import Damaged, StoreError, Unwritable, UsageError, nearest
from vqbench.spec import RunSpec
from vqbench.store import deletion, schema
from vqbench.system import locks, reading

FORMAT = 1  # raised when the layout of record.json changes
SOME = 10  # runs that one sentence names
LOG_LINES = 12  # of a failed run, kept with the reason


@dataclass
class Value:
    """One measured number, and which state of the metric's and the protocol's code measured it."""

    value: float | None  # None where the metric says nothing about such a run
    metric_version: int
    protocol_version: int
    images: int  # how many images were counted


@dataclass
class Record:
    """What is known of one finished run."""

    run: RunSpec
    values: dict[str, dict[str, Value]]  # protocol -> metric -> value
    made: dict[str, Any]  # by which commit, versions, device, in how many seconds; "measured": likewise, each time
    history: list[dict[str, Any]] = field(default_factory=list)  # one mapping an epoch

    def to_json(self) -> str:
        """The record as JSON. Raises ValueError for what could not be read again."""
        content: dict[str, Any] = json_safe(
            {
                "format": FORMAT,
                "key": self.run.key,
                "run": self.run.to_dict(),
                "values": {p: {m: asdict(v) for m, v in metrics.items()} for p, metrics in self.values.items()},
                "made": self.made,
                "history": self.history,
            }
        )
        schema.record(content)
        content["digest"] = _digest(content)
        return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """The record that :meth:`to_json` wrote. Raises ValueError for anything else."""
        return cls._from(reading.json_from(text.encode() if isinstance(text, str) else text))

    @classmethod
    def _from(cls, content: Any) -> Record:
        if schema.mapping(content, "it").get("format") != FORMAT:
            raise ValueError(f"format {content.get('format')!r:.40}, this version reads {FORMAT}")
        if content.pop("digest", None) not in (None, _digest(content)):  # the first records were written without one
            raise ValueError("its content does not fit its digest")
        schema.record(content)
        try:
            run = RunSpec.from_dict(content["run"])
        except StoreError as error:
            raise ValueError(str(error)) from error
        if content["key"] != run.key:
            raise ValueError(f"its key is {content['key']!r:.40}, but its run has {run.key}")
        values = {p: {m: cls._value(v) for m, v in metrics.items()} for p, metrics in content["values"].items()}
        history = [{name: _numeric(value) for name, value in epoch.items()} for epoch in content["history"]]
        return cls(run, values, _filled(content["made"]), history)

    @staticmethod
    def _value(written: dict[str, Any]) -> Value:
        return Value(**{**written, "value": _numeric(written["value"])})


def _standing(damage: str) -> str:
    """A sentence about a file that cannot be read, as the state of its run."""
    return f"{'unreadable' if 'cannot be read' in damage else 'damaged'}: {damage}"


def json_safe(value: Any) -> Any:
    """``value`` as JSON can hold it: numbers that JSON lacks become words, and those of numpy and torch plain ones."""
    if isinstance(value, Mapping):
        return {str(name): json_safe(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(each) for each in value]
    if hasattr(value, "item"):
        value = value.item()
    return str(float(value)) if isinstance(value, float) and not math.isfinite(value) else value


def _numeric(value: Any) -> Any:
    """The inverse of :func:`json_safe` for one number."""
    return float(value) if value in schema.WORDS else value


def _filled(made: dict[str, Any]) -> dict[str, Any]:
    """``made`` with a word in the place of what tables show and a record written by hand may lack."""
    unknown = {"commit": None, "device": "unknown device", "threads": 0, "date": ""}
    filled = {**unknown, **made}
    filled["versions"] = {"torch": "unknown", **made.get("versions", {})}
    if "measured" in made:
        filled["measured"] = [{**unknown, **each} for each in made["measured"]]
    return filled


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
def _writing(path: Path) -> Iterator[None]:
    """Turn an operating system's complaint into a sentence; the old file stays as it was."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{path}: cannot write ({error.strerror or error}); free space or mend its permissions"
        ) from error


def set_aside(path: Path) -> Path:
    """Give a damaged file another name, so that it can be looked at but serves no more; the new name."""
    numbers = ("", *(f".{number}" for number in range(2, 1000)))  # an earlier one is kept
    names = (path.with_name(f"{path.name}.damaged{number}") for number in numbers)
    aside = next((name for name in names if not os.path.lexists(name)), path.with_name(f"{path.name}.damaged"))
    with _writing(path):
        os.replace(path, aside)
    return aside


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old content or the new, never a part, also after a power cut.

    ``content`` may come in pieces, one after the other.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with _writing(path):
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
        self.damage: dict[Path, str] = {}  # files that could not be read, and why; see sound and records
        if self.root.exists() and not self.root.is_dir():
            raise StoreError(f"{self.root}: not a folder; name another results folder with --store")

    def folder(self, run: RunSpec) -> Path:
        return self.root / f"{run.dataset.name}-{run.quantizer.name}-{run.key}"

    def __contains__(self, run: RunSpec) -> bool:
        return (self.folder(run) / "record.json").exists()

    def read(self, run: RunSpec) -> Record | None:
        """The record of ``run``, or None if it has not finished here. Raises StoreError if it cannot be read."""
        return self._read(self.folder(run) / "record.json", run)

    def sound(self, run: RunSpec) -> Record | None:
        """Like :meth:`read`, but a record that cannot be read is noted in :attr:`damage`, and None."""
        return self._sound(self.folder(run) / "record.json", run)

    def standing(self, run: RunSpec) -> str:
        """The state of a run of which a file was found damaged; empty if none was."""
        names = ("record.json", "failed.json")
        damage = [why for name in names if (why := self.damage.get(self.folder(run) / name))]
        return _standing(damage[0]) if damage else ""

    def obstacle(self, run: RunSpec) -> Failure | None:
        """Why there is no record of ``run`` to show: it failed, or a file of it cannot be read; None if neither."""
        if (damage := self.damage.get(self.folder(run) / "record.json")) is not None:
            return Failure(_standing(damage), [])
        try:
            return self.failure(run)
        except StoreError as error:
            self.damage[self.folder(run) / "failed.json"] = str(error)
            return Failure(_standing(str(error)), [])

    def images(self, run: RunSpec) -> dict[str, np.ndarray]:
        """Like :meth:`read_images`, but a file that cannot be read is noted in :attr:`damage`, and as good as none."""
        try:
            return self.read_images(run)
        except StoreError as error:
            self.damage[self.folder(run) / "per_image.npz"] = str(error)
            return {}

    def records(self) -> Iterator[Record]:
        """All records of the folder, by name; those that cannot be read are noted in :attr:`damage` and left out."""
        for path in sorted(self.root.glob("*/record.json")):
            record = self._sound(path)
            if record is not None:
                yield record

    def _sound(self, path: Path, run: RunSpec | None = None) -> Record | None:
        try:
            return self._read(path, run)
        except StoreError as error:
            self.damage[path] = str(error)
            return None

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
    def _read(path: Path, run: RunSpec | None = None) -> Record | None:
        try:
            record = Record._from(reading.json_of(path))
            if run is not None and record.run.key != run.key:
                raise ValueError(f"it is of another run, {record.run.key}")
            return record
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError) as error:
            raise Damaged(
                f"{path}: not a record of vqbench ({error}); `vqbench run` sets it aside and does the run again"
            ) from error

    def write(self, record: Record) -> None:
        """Store ``record``; from now on its run counts as done. An earlier failure of the run is forgotten."""
        folder = self.folder(record.run)
        write_atomically(folder / "record.json", record.to_json().encode())
        deletion.delete(self.root, [folder / "failed.json"])

    def missing(self, run: RunSpec, wanted: Mapping[str, Mapping[str, tuple[int, int]]]) -> dict[str, list[str]]:
        """Which of the ``wanted`` numbers (protocol -> metric -> (metric's, protocol's version)) are not stored."""
        return lacking(self.read(run), wanted)

    # Values of each image, for paired statistics: one .npz a run, arrays named "protocol/metric".

    def write_images(self, run: RunSpec, arrays: Mapping[str, np.ndarray]) -> None:
        """Add per-image values to those that are stored of ``run``."""
        merged = {**self.read_images(run), **arrays}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{name: merged[name].astype(np.float32) for name in sorted(merged)})  # type: ignore[arg-type]  # none is called allow_pickle
        write_atomically(self.folder(run) / "per_image.npz", buffer.getvalue())

    def read_images(self, run: RunSpec) -> dict[str, np.ndarray]:
        """Values of each image by "protocol/metric": (N,) each. Raises Damaged."""
        path = self.folder(run) / "per_image.npz"
        try:
            found = reading.arrays(path)
            for name, values in found.items():
                if values.ndim != 1 or values.dtype.kind != "f" or "/" not in name:
                    raise ValueError(f"{name[:80]!r} has values of shape {values.shape} of {values.dtype}")
            return found
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise Damaged(
                f"{path}: damaged ({error}); delete it and the record beside it, and `vqbench run` measures again"
            ) from error

    # Failures are kept, so that a table can say why a cell is empty.

    def fail(self, run: RunSpec, failure: Failure) -> None:
        write_atomically(self.folder(run) / "failed.json", (json.dumps(asdict(failure), indent=1) + "\n").encode())

    def failure(self, run: RunSpec) -> Failure | None:
        path = self.folder(run) / "failed.json"
        try:
            content = reading.json_of(path)
            schema.failure(content)
            return Failure(**content)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise Damaged(f"{path}: cannot be read ({error}); delete it to try the run again") from error

    def mend(self, run: RunSpec) -> list[str]:
        """Set aside what is damaged of ``run``, so that it is done again, and remove what a killed process has half
        written; one sentence each. Only for the process that holds it.

        Values of images and their means belong together: where the former are damaged, the record goes as well.
        """
        folder = self.folder(run)
        told = deletion.clear(self.root, folder)
        readers = {"failed.json": self.failure, "per_image.npz": self.read_images, "record.json": self.read}
        for name, read in readers.items():
            try:
                read(run)
            except Damaged as error:
                gone = [name, "record.json"] if name == "per_image.npz" else [name]
                there = [folder / each for each in gone if (folder / each).exists()]
                told.extend(f"{error}; {path.name} is now {set_aside(path).name}" for path in there)
        return told

    def lock(self, run: RunSpec) -> AbstractContextManager[bool]:
        """Hold the run for this process; yields whether it is held. See :mod:`vqbench.system.locks`."""
        return locks.lock_folder(self.folder(run))

    def is_locked(self, run: RunSpec) -> bool:
        """Whether some process works on ``run`` at this moment. Needs no right to write."""
        return locks.is_locked(self.folder(run))


def damage_of(stores: Iterable[ResultStore]) -> list[str]:
    """What was found damaged in ``stores`` so far, a sentence each."""
    return [sentence for store in stores for sentence in store.damage.values()]
