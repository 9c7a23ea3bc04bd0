"""Index the image files below a folder: their digests, and which are damaged.

The first use of a folder decodes all of its images, in threads, to find the damaged ones and to identify the content;
that takes about as long as loading one epoch. The index is cached in our cache folder, by the folder's path. Later uses
compare the times of folders and containers, which show what was added, removed or renamed, and the stamps of damaged
files; then only new files are decoded. An image that is rewritten in place, under its own name, changes no folder's
time: :func:`refresh` compares the stamp of every file, and :meth:`Index.read` checks the digest of all that it reads.
Must not import torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vqbench.assets import cache_folder, image_file, image_scan
from vqbench.assets.content import replacing
from vqbench.errors import AbsentData, AssetError
from vqbench.system.files import MB, load_npz

DIGEST = 16  # bytes of a file's sha256 that are stored
PART = 256  # files that one thread checks at a time
MAX_CACHED = 4_000 * MB  # of the index of one folder
ARRAYS = {
    "sizes": np.int64,
    "offsets": np.int64,
    "stamps": np.int64,
    "digests": np.uint8,
    "peaks": np.int32,
    "colours": np.bool_,
}
REPORT_EVERY = 5.0  # seconds of checking between two lines on stderr


@dataclass
class Index:
    """The image files below ``root``, sorted by name, damaged ones included."""

    root: Path
    names: list[str]
    sizes: np.ndarray  # (N,) int64, bytes
    offsets: np.ndarray  # (N,) int64, within an archive; 0: a file of its own
    stamps: np.ndarray  # (N,) int64, times of change in ns when it was checked
    digests: np.ndarray  # (N, DIGEST) uint8
    damaged: dict[int, str]  # position -> reason
    watched: dict[str, int] = field(default_factory=dict)  # folder or container -> its time
    peaks: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))  # (N,), the highest level of deep images
    colours: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # (N,), whether a deep image has colours
    passed: dict[str, int] = field(default_factory=dict)  # suffix -> number of files that are not images by their names

    def __len__(self) -> int:
        return len(self.names)

    def read(self, position: int) -> bytes:
        """Return the bytes of one file. Raises AssetError if they have changed."""
        name, size, offset = self.names[position], int(self.sizes[position]), int(self.offsets[position])
        try:
            data = image_scan.content(self.root, name, size, offset)
        except OSError as error:
            raise AssetError(f"{self.root / name}: cannot be read any more ({error.strerror}); restore it") from error
        if _digest(data) != self.digests[position].tobytes():
            raise AssetError(
                f"{self.root / name}: its content has changed since the folder was checked; restore the old file, or "
                "start `vqbench run` again to use the folder as it is now, as other runs"
            )
        return data


def index(root: Path) -> Index:
    """Return the index of ``root``, from the cache if nothing was changed since.

    A file that was rewritten in place is not noticed, unless it was damaged. Raises AbsentData.
    """
    root = root.resolve()
    if not root.is_dir():
        raise AbsentData(f"{root}: no such folder; set folder to one that contains images")
    known = _load(root)
    if known is not None and image_scan.unchanged(root, known.watched) and not _altered(known, known.damaged):
        return known
    checked = _checked(root, image_scan.scan(root), known)
    _save(checked)
    return checked


def refresh(known: Index) -> None:
    """Check files again whose size or stamp has changed; one stat per file."""
    if not (changed := _altered(known, range(len(known)))):
        return
    print(
        f"{known.root}: {len(changed):,} of {len(known):,} images were rewritten since they were checked; "
        "they are checked again, and if their content differs, runs on them are new ones",
        file=sys.stderr,
    )
    _save(_checked(known.root, image_scan.scan(known.root), known))


def _altered(known: Index, positions: Iterable[int]) -> list[int]:
    """Return those of ``positions`` whose own file has changed.

    Changes of containers are noticed by their times.
    """
    return [
        each
        for each in positions
        if not known.offsets[each]
        and image_scan.altered(known.root, known.names[each], int(known.sizes[each]), int(known.stamps[each]))
    ]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:DIGEST]


def _checked(root: Path, scan: image_scan.Scan, known: Index | None) -> Index:
    """Index all entries: unchanged ones as in ``known``, others by decoding."""
    entries = scan.entries
    checked = Index(
        root,
        [entry.name for entry in entries],
        np.array([entry.size for entry in entries], np.int64),
        np.array([entry.offset for entry in entries], np.int64),
        np.array([entry.stamp for entry in entries], np.int64),
        np.zeros((len(entries), DIGEST), np.uint8),
        {},
        scan.watched,
        np.full(len(entries), -1, np.int32),
        np.zeros(len(entries), bool),
        dict(scan.passed),
    )
    places = {name: place for place, name in enumerate(known.names)} if known else {}
    new = []
    for position, entry in enumerate(entries):
        place = places.get(entry.name)
        if known is None or place is None:
            new.append(position)
            continue
        if (known.sizes[place], known.stamps[place]) != (entry.size, entry.stamp):
            new.append(position)  # with the same digest, it is not decoded again
        checked.digests[position] = known.digests[place]
        checked.peaks[position], checked.colours[position] = known.peaks[place], known.colours[place]
        if place in known.damaged:
            checked.damaged[position] = known.damaged[place]
    for file in _check_all(checked, new):
        checked.digests[file.position] = np.frombuffer(file.digest, np.uint8)
        checked.peaks[file.position], checked.colours[file.position] = file.peak, file.colour
        checked.damaged.pop(file.position, None)
        if file.damage:
            checked.damaged[file.position] = file.damage
    return checked


@dataclass(frozen=True)
class _CheckedFile:
    """Digest and damage of one file."""

    position: int
    digest: bytes
    damage: str = ""  # the reason why it cannot be used
    peak: int = -1
    colour: bool = False


def _check_all(checked: Index, positions: list[int]) -> Iterator[_CheckedFile]:
    """Check the files at ``positions``, and report progress on stderr."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [positions[start : start + PART] for start in range(0, len(positions), PART)]
    reported = time.monotonic()
    with ThreadPoolExecutor(min(cores, 16), thread_name_prefix="vqbench-check") as pool:
        for number, part in enumerate(pool.map(lambda part: [_check(checked, each) for each in part], parts)):
            yield from part
            if time.monotonic() - reported > REPORT_EVERY:
                reported = time.monotonic()
                done = min(len(positions), (number + 1) * PART)
                print(
                    f"{checked.root}: {done:,} of {len(positions):,} images checked, once for all runs",
                    file=sys.stderr,
                )


def _check(checked: Index, position: int) -> _CheckedFile:
    try:
        name, size, offset = checked.names[position], int(checked.sizes[position]), int(checked.offsets[position])
        data = image_scan.content(checked.root, name, size, offset)
    except OSError as error:
        return _CheckedFile(position, bytes(DIGEST), f"cannot be read: {error.strerror}")
    digest, known = _digest(data), checked.damaged.get(position, "")
    if digest == checked.digests[position].tobytes():
        return _CheckedFile(position, digest, known, int(checked.peaks[position]), bool(checked.colours[position]))
    try:
        decoded = image_file.examined(data)
    except image_file.Unreadable as reason:
        return _CheckedFile(position, digest, str(reason))
    return _CheckedFile(position, digest, "", decoded.peak, decoded.colour)


# The cache of indexes ------------------------------------------------------------------------------------------------


def _file(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root) + f":{image_file.VERSION}".encode()).hexdigest()[:32]
    return cache_folder() / "images" / f"{name}.npz"


def _save(checked: Index) -> None:
    about = {
        "root": str(checked.root),
        "names": checked.names,
        "damaged": {str(position): reason for position, reason in checked.damaged.items()},
        "watched": checked.watched,
        "passed": checked.passed,
    }
    arrays = {name: getattr(checked, name) for name in ARRAYS}
    try:
        with replacing(_file(checked.root)) as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    except OSError as error:
        warnings.warn(f"{_file(checked.root)}: the index is not cached for the next run: {error}", stacklevel=2)


def _load(root: Path) -> Index | None:
    """Load the cached index of ``root``; None if it is missing or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        kept = load_npz(_file(root), MAX_CACHED)
        about = json.loads(kept["about"].tobytes())
        damaged = {int(position): str(reason) for position, reason in about["damaged"].items()}
        checked = Index(
            root,
            [str(name) for name in about["names"]],
            damaged=damaged,
            watched={str(name): int(stamp) for name, stamp in about["watched"].items()},
            passed={str(suffix): int(count) for suffix, count in about["passed"].items()},
            **{name: kept[name] for name in ARRAYS},
        )
        count = len(checked.names)
        shapes = {name: (count, DIGEST) if name == "digests" else (count,) for name in ARRAYS}
        whole = all(getattr(checked, name).shape == shapes[name] for name in ARRAYS)
        typed = all(getattr(checked, name).dtype == ARRAYS[name] for name in ARRAYS)
        if whole and typed and all(0 <= position < count for position in damaged):
            return checked
    return None
