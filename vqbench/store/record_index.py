"""Index records of a results folder, so that unchanged ones are not read again.

It is a cache: a file in a folder of the user, one per results folder, with a :class:`RecordSummary` per record and the
state of its file. A record whose file has another state, or none in the index, is read; so is every damaged one. What
is wrong with the index itself, or prevents writing it, only costs time. It is not in the results folder, which may be
read-only, and which is published, merged and checked.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench.errors import StoreError
from vqbench.spec import PARTS, PluginSpec, RunSpec
from vqbench.store.record import Record, Versions
from vqbench.store.record_summary import RecordSummary
from vqbench.system import stored_files

FORMAT = 1  # of the file
FEWEST = 500  # records; fewer are read in less than a second
SETTLED = 5 * 10**9  # nanoseconds after a change, in which another one may leave the state as it is
LIMIT = 2**29  # bytes of the file

FileState = tuple[int, int, int, int]  # times of content and of status in ns, size, number of the file


@dataclass(frozen=True)
class _Entry:
    state: FileState
    summary: RecordSummary


def summaries(root: Path, folder: Path | None, read: Callable[[Path], Record | None]) -> list[RecordSummary]:
    """Return the summaries of all readable records below ``root``, by name.

    ``read`` returns the record in a file, or None. ``folder`` has the index; None: all records are read.
    """
    paths = sorted(root.glob("*/record.json"))
    file = None if folder is None or len(paths) < FEWEST else _file(root, folder)
    known = {} if file is None else _load(file)
    current: dict[str, _Entry] = {}
    found = []
    begun = time.time_ns()
    for path in paths:
        name, state = path.parent.name, _state(path)
        entry = known.get(name)
        if entry is None or entry.state != state:
            record = read(path)
            if record is None:
                continue
            entry = _Entry(state or (0, 0, 0, 0), RecordSummary.of(record))
        found.append(entry.summary)
        if state is not None and max(state[:2]) < begun - SETTLED:
            current[name] = entry
    if file is not None and current != known:
        with suppress(StoreError, OSError, ValueError, RecursionError):  # it only saves time
            _save(file, current)
    return found


def _file(root: Path, folder: Path) -> Path:
    """Return the file of the index of ``root``, by its real path."""
    return folder / f"{hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()[:32]}.index"


def _state(path: Path) -> FileState | None:
    """Return the state of a file before it is read, None if it has none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


# The file: a line with the digest of what follows, then JSON. What many records share is there once. ------------------


def _load(file: Path) -> Mapping[str, _Entry]:
    """Return the entries by name of folder; none if the file is not usable."""
    try:
        head, _, body = stored_files.content(file, LIMIT).partition(b"\n")
        if head != _head(body):
            return {}
        content = json.loads(body)
        parts = [PluginSpec(**part) for part in content["parts"]]
        values = [
            {protocol: {name: Versions(*pair) for name, pair in metrics.items()} for protocol, metrics in each.items()}
            for each in content["values"]
        ]
        return {name: _entry(row, parts, values, content["made"]) for name, row in content["records"].items()}
    except (OSError, StoreError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return {}


def _entry(row: list[Any], parts: list[PluginSpec], values: list[Any], made: list[Any]) -> _Entry:
    state, key, (recipe, backbone, dataset, quantizer), seed, parent, versions, seconds, trained, measured = row
    run = RunSpec(parts[recipe], parts[backbone], parts[dataset], parts[quantizer], seed, parent)
    vars(run)["key"] = key  # its hash, computed when the record was read
    passes = [(made[at], each) for at, each in measured]
    return _Entry(tuple(state), RecordSummary(run, values[versions], seconds, made[trained], passes))


def _save(file: Path, entries: Mapping[str, _Entry]) -> None:
    """Write ``entries`` in place of an earlier file. Raises StoreError."""
    parts, values, made = _Shared(), _Shared(), _Shared()
    records = {}
    for name, entry in entries.items():
        each = entry.summary
        records[name] = [
            entry.state,
            each.run.key,
            [parts.place(getattr(each.run, part)) for part in PARTS],
            each.run.seed,
            each.run.parent,
            values.place(each.values),
            each.seconds,
            made.place(each.trained),
            [[made.place(provenance), seconds] for provenance, seconds in each.measured],
        ]
    content = {"parts": parts.items, "values": values.items, "made": made.items, "records": records}
    body = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    stored_files.write_atomically(file, _head(body) + b"\n", body)


class _Shared:
    """What several records have in common, each once."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self._by_text: dict[str, int] = {}
        self._by_object: dict[int, tuple[int, Any]] = {}  # with the object, whose id is then of no other

    def place(self, value: Any) -> int:
        """Return the position of ``value`` in the list, adding it if need be."""
        if (found := self._by_object.get(id(value))) is not None:
            return found[0]
        content = value.to_dict() if isinstance(value, PluginSpec) else value
        at = self._by_text.setdefault(json.dumps(content), len(self.items))
        if at == len(self.items):
            self.items.append(content)
        self._by_object[id(value)] = at, value
        return at


def _head(body: bytes) -> bytes:
    """Return the first line of a file with this ``body``, written by this code."""
    digest = hashlib.sha256(_code() + body).hexdigest()
    return f"vqbench index of records, format {FORMAT}, {digest}".encode()


def _code() -> bytes:
    """Identify the code that decides whether a record is sound.

    By the names, sizes and times of its files, so that no index of another version or before an edit is used.
    """
    here = Path(__file__).parent
    states = [f"{path} {_state(path)}" for path in (here.parent / "spec.py", *sorted(here.glob("*.py")))]
    return "\n".join(states).encode("utf-8", "surrogateescape")
