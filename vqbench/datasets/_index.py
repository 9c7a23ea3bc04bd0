"""What is known of the picture files below a folder: each was read and decoded once, and is known by its digest.

The first use of a folder decodes all of its pictures, in threads, to find the damaged ones and to know the content;
that takes about as long as one epoch's loading. What was found is kept in our cache folder, by the folder's path, so
that later uses only ask the system whether something was added, removed or renamed; then only what is new is decoded.
A file that changed under its own name cannot pass unseen: :meth:`Index.read` checks the digest of all that it reads.
Needs no torch.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vqbench.assets import cache_folder
from vqbench.assets.content import replacing
from vqbench.datasets import _decode, _scan
from vqbench.errors import AssetError

DIGEST = 16  # bytes of a file's sha256 that are kept
PART = 256  # files that one thread checks at a time
PATIENCE = 5.0  # seconds of checking after which it is told, and then every so many


@dataclass
class Index:
    """The picture files below ``root``, sorted by name, damaged ones included."""

    root: Path
    names: list[str]
    sizes: np.ndarray  # (N,) int64, bytes
    offsets: np.ndarray  # (N,) int64, within an archive; 0: a file of its own
    stamps: np.ndarray  # (N,) int64, times of change in ns when it was checked
    digests: np.ndarray  # (N, DIGEST) uint8
    damaged: dict[int, str]  # position -> why it cannot be used
    watched: dict[str, int] = field(default_factory=dict)

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
                f"delete {_file(self.root)} to take the folder as it is now, which makes other runs"
            )
        return data


def index(root: Path) -> Index:
    """What lies below ``root``, from the cache where nothing was added, removed or renamed since."""
    root = root.resolve()
    if not root.is_dir():
        raise AssetError(f"{root}: no such folder; name one that holds pictures")
    known = _load(root)
    if known is not None and _scan.unchanged(root, known.watched):
        return known
    made = _checked(root, _scan.scan(root), known)
    _save(made)
    return made


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
    )
    places = {name: place for place, name in enumerate(known.names)} if known else {}
    new = []
    for position, entry in enumerate(entries):
        place = places.get(entry.name)
        if known is None or place is None or (known.sizes[place], known.stamps[place]) != (entry.size, entry.stamp):
            new.append(position)
            continue
        made.digests[position] = known.digests[place]
        if place in known.damaged:
            made.damaged[position] = known.damaged[place]
    for position, digest, damage in _check_all(made, new):
        made.digests[position] = np.frombuffer(digest, np.uint8)
        if damage:
            made.damaged[position] = damage
    return made


def _check_all(made: Index, positions: list[int]) -> Iterator[tuple[int, bytes, str]]:
    """Digest and damage of the files at ``positions``."""
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
                    f"{made.root}: {done:,} of {len(positions):,} pictures checked, once for all runs",
                    file=sys.stderr,
                )


def _check(made: Index, position: int) -> tuple[int, bytes, str]:
    """Position, digest, and why the file cannot be used (empty where it can)."""
    try:
        name, size, offset = made.names[position], int(made.sizes[position]), int(made.offsets[position])
        data = _scan.content(made.root, name, size, offset)
    except OSError as error:
        return position, bytes(DIGEST), f"cannot be read: {error.strerror}"
    try:
        _decode.decode(data)
    except _decode.Unreadable as why:
        return position, _digest(data), str(why)
    return position, _digest(data), ""


# Kept in the cache folder ---------------------------------------------------------------------------------------------


def _file(root: Path) -> Path:
    name = hashlib.sha256(f"{root}:{_decode.VERSION}".encode()).hexdigest()[:32]
    return cache_folder() / "pictures" / f"{name}.npz"


def _save(made: Index) -> None:
    about = {
        "root": str(made.root),
        "names": made.names,
        "damaged": {str(position): why for position, why in made.damaged.items()},
        "watched": made.watched,
    }
    arrays = {"sizes": made.sizes, "offsets": made.offsets, "stamps": made.stamps, "digests": made.digests}
    try:
        with replacing(_file(made.root)) as file:
            np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)  # type: ignore[arg-type]
    except OSError as error:
        warnings.warn(f"{_file(made.root)}: what was checked is not kept for the next run: {error}", stacklevel=2)


def _load(root: Path) -> Index | None:
    with (
        suppress(Exception),  # a damaged archive raises errors of any kind
        np.load(_file(root), allow_pickle=False) as kept,
    ):
        about = json.loads(kept["about"].tobytes())
        damaged = {int(position): why for position, why in about["damaged"].items()}
        sizes, offsets, stamps, digests = (kept[name] for name in ("sizes", "offsets", "stamps", "digests"))
        return Index(root, about["names"], sizes, offsets, stamps, digests, damaged, about["watched"])
    return None  # nothing was kept, or it cannot be read: all is checked anew
