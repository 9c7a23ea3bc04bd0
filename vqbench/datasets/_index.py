"""What is known of the image files below a folder: each was read and decoded once, and is known by its digest.

The first use of a folder decodes all of its images, in threads, to find the damaged ones and to know the content; that
takes about as long as one epoch's loading. What was found is kept in our cache folder, by the folder's path. Later uses
compare the times of folders and containers, which show what was added, removed or renamed, and the stamps of damaged
files; then only what is new is decoded. An image rewritten in place, under its own name, changes no folder's time:
:func:`refresh` compares the stamp of every file, and :meth:`Index.read` checks the digest of all that it reads. Needs
no torch.
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

from vqbench.assets import cache_folder
from vqbench.assets.content import replacing
from vqbench.datasets import _decode, _scan
from vqbench.errors import AbsentData, AssetError
from vqbench.system.files import MB, load_npz

DIGEST = 16  # bytes of a file's sha256 that are kept
PART = 256  # files that one thread checks at a time
KEPT = 4_000 * MB  # bytes of what is kept of one folder
ARRAYS = {
    "sizes": np.int64,
    "offsets": np.int64,
    "stamps": np.int64,
    "digests": np.uint8,
    "peaks": np.int32,
    "colours": np.bool_,
}
PATIENCE = 5.0  # seconds of checking after which it is told, and then every so many


@dataclass
class Index:
    """The image files below ``root``, sorted by name, damaged ones included."""

    root: Path
    names: list[str]
    sizes: np.ndarray  # (N,) int64, bytes
    offsets: np.ndarray  # (N,) int64, within an archive; 0: a file of its own
    stamps: np.ndarray  # (N,) int64, times of change in ns when it was checked
    digests: np.ndarray  # (N, DIGEST) uint8
    damaged: dict[int, str]  # position -> why it cannot be used
    watched: dict[str, int] = field(default_factory=dict)
    peaks: np.ndarray = field(default_factory=lambda: np.empty(0, np.int32))  # (N,), the highest level of deep images
    colours: np.ndarray = field(default_factory=lambda: np.empty(0, bool))  # (N,), whether a deep image has colours
    passed: dict[str, int] = field(default_factory=dict)  # suffix -> files that are no images by their names

    def __len__(self) -> int:
        return len(self.names)

    def read(self, position: int) -> bytes:
        """The bytes of one file. Raises AssetError where they are not those that were checked."""
        name, size, offset = self.names[position], int(self.sizes[position]), int(self.offsets[position])
        try:
            data = _scan.content(self.root, name, size, offset)
        except OSError as error:
            raise AssetError(f"{self.root / name}: cannot be read any more ({error.strerror}); put it back") from error
        if _digest(data) != self.digests[position].tobytes():
            raise AssetError(
                f"{self.root / name}: its content has changed since the folder was checked; put the old file back, or "
                "start `vqbench run` anew to take the folder as it is now, which makes other runs"
            )
        return data


def index(root: Path) -> Index:
    """What lies below ``root``, from the cache where nothing was added, removed, renamed or mended since."""
    root = root.resolve()
    if not root.is_dir():
        raise AbsentData(f"{root}: no such folder; name one that holds images")
    known = _load(root)
    if known is not None and _scan.unchanged(root, known.watched) and not _altered(known, known.damaged):
        return known
    made = _checked(root, _scan.scan(root), known)
    _save(made)
    return made


def refresh(known: Index) -> None:
    """Check again what was rewritten in place: every file whose size or stamp is not what it was. One stat a file."""
    if not (changed := _altered(known, range(len(known)))):
        return
    print(
        f"{known.root}: {len(changed):,} of {len(known):,} images were rewritten since they were checked; "
        "they are checked again, and where they differ, runs on them are new ones",
        file=sys.stderr,
    )
    _save(_checked(known.root, _scan.scan(known.root), known))


def _altered(known: Index, positions: Iterable[int]) -> list[int]:
    """Those of ``positions`` whose file is not what it was; what lies in a container, whose time is watched, is."""
    return [
        each
        for each in positions
        if not known.offsets[each]
        and _scan.altered(known.root, known.names[each], int(known.sizes[each]), int(known.stamps[each]))
    ]


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[:DIGEST]


def _checked(root: Path, scan: _scan.Scan, known: Index | None) -> Index:
    """The index of all entries: what ``known`` says of those that are as they were, the rest read and decoded."""
    entries = scan.entries
    made = Index(
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
            new.append(position)  # if its digest is as it was, it need not be decoded again
        made.digests[position] = known.digests[place]
        made.peaks[position], made.colours[position] = known.peaks[place], known.colours[place]
        if place in known.damaged:
            made.damaged[position] = known.damaged[place]
    for found in _check_all(made, new):
        made.digests[found.position] = np.frombuffer(found.digest, np.uint8)
        made.peaks[found.position], made.colours[found.position] = found.peak, found.colour
        made.damaged.pop(found.position, None)
        if found.damage:
            made.damaged[found.position] = found.damage
    return made


@dataclass(frozen=True)
class _Found:
    """What one file is."""

    position: int
    digest: bytes
    damage: str = ""  # why it cannot be used
    peak: int = -1
    colour: bool = False


def _check_all(made: Index, positions: list[int]) -> Iterator[_Found]:
    """What the files at ``positions`` are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = [positions[start : start + PART] for start in range(0, len(positions), PART)]
    told = time.monotonic()
    with ThreadPoolExecutor(min(cores, 16), thread_name_prefix="vqbench-check") as pool:
        for number, part in enumerate(pool.map(lambda part: [_check(made, each) for each in part], parts)):
            yield from part
            if time.monotonic() - told > PATIENCE:
                told = time.monotonic()
                done = min(len(positions), (number + 1) * PART)
                print(
                    f"{made.root}: {done:,} of {len(positions):,} images checked, once for all runs",
                    file=sys.stderr,
                )


def _check(made: Index, position: int) -> _Found:
    try:
        name, size, offset = made.names[position], int(made.sizes[position]), int(made.offsets[position])
        data = _scan.content(made.root, name, size, offset)
    except OSError as error:
        return _Found(position, bytes(DIGEST), f"cannot be read: {error.strerror}")
    digest, known = _digest(data), made.damaged.get(position, "")
    if digest == made.digests[position].tobytes():
        return _Found(position, digest, known, int(made.peaks[position]), bool(made.colours[position]))
    try:
        decoded = _decode.examined(data)
    except _decode.Unreadable as why:
        return _Found(position, digest, str(why))
    return _Found(position, digest, "", decoded.peak, decoded.colour)


# Kept in the cache folder ---------------------------------------------------------------------------------------------


def _file(root: Path) -> Path:
    name = hashlib.sha256(os.fsencode(root) + f":{_decode.VERSION}".encode()).hexdigest()[:32]
    return cache_folder() / "pictures" / f"{name}.npz"


def _save(made: Index) -> None:
    about = {
        "root": str(made.root),
        "names": made.names,
        "damaged": {str(position): why for position, why in made.damaged.items()},
        "watched": made.watched,
        "passed": made.passed,
    }
    arrays = {name: getattr(made, name) for name in ARRAYS}
    try:
        with replacing(_file(made.root)) as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    except OSError as error:
        warnings.warn(f"{_file(made.root)}: what was checked is not kept for the next run: {error}", stacklevel=2)


def _load(root: Path) -> Index | None:
    """What was kept of ``root``; None where there is nothing, or nothing sound: all is checked anew."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        kept = load_npz(_file(root), KEPT)
        about = json.loads(kept["about"].tobytes())
        damaged = {int(position): str(why) for position, why in about["damaged"].items()}
        made = Index(
            root,
            [str(name) for name in about["names"]],
            damaged=damaged,
            watched={str(name): int(stamp) for name, stamp in about["watched"].items()},
            passed={str(suffix): int(count) for suffix, count in about["passed"].items()},
            **{name: kept[name] for name in ARRAYS},
        )
        count = len(made.names)
        shapes = {name: (count, DIGEST) if name == "digests" else (count,) for name in ARRAYS}
        whole = all(getattr(made, name).shape == shapes[name] for name in ARRAYS)
        typed = all(getattr(made, name).dtype == ARRAYS[name] for name in ARRAYS)
        if whole and typed and all(0 <= position < count for position in damaged):
            return made
    return None
