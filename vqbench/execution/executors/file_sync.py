"""The files of a run's folder as bytes, to be sent between machines."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from vqbench.store import deletion
from vqbench.system.stored_files import write_atomically

Files = dict[str, bytes]  # path below the run's folder -> content
Seen = dict[str, tuple[int, int]]  # path below the run's folder -> time of its last change, size

REFERRING = ("last.pt", "record.json")  # refer to other files: read before them, written after them
RESUMABLE = ("last.pt", "samples-*.parts/*")  # as soon as such a file has changed, less work is lost with the machine
SAMPLES_MARK = "samples.sha256"  # identifies the weights of the generator that the samples in a folder are of
# Files that no other machine needs: the lock, cached latents, which are computed anew, and half of a file of samples.
LOCAL = ("lock", "encoded-*", "samples-*.parts/whole")


def pack(folder: Path, seen: Seen | None = None, only: tuple[str, ...] = ("*",)) -> Files:
    """Read the files of a run's ``folder`` that have changed.

    Args:
        folder: The run's folder; its :data:`LOCAL` and temporary files are left out.
        seen: State of the files at the last call, which is updated; None reads all files.
        only: Patterns of the paths to read, below the folder.

    A checkpoint is read before the files that it refers to, so these are as new as it is, or newer.
    """
    seen = {} if seen is None else seen
    files: Files = {}
    for name, state in _changed(folder, seen, only):
        try:
            files[name] = (folder / name).read_bytes()
        except FileNotFoundError:  # renamed meanwhile, as a damaged file is
            continue
        seen[name] = state
    return files


def has_progress(folder: Path, seen: Seen) -> bool:
    """Return whether ``folder`` has work that another machine could resume from.

    That is a checkpoint, or samples, that have changed since ``seen``.
    """
    return any(True for _ in _changed(folder, seen, RESUMABLE))


def unpack(folder: Path, files: Files) -> None:
    """Write ``files`` into a run's ``folder``, those that refer to others last.

    Samples of other weights than those of ``files`` are deleted. Raises Unwritable where the folder cannot be written.
    """
    if SAMPLES_MARK in files and pack(folder, only=(SAMPLES_MARK,)) != {SAMPLES_MARK: files[SAMPLES_MARK]}:
        deletion.delete(folder, [*folder.glob("samples-*.npy"), *folder.glob("samples-*.parts")])
    for name in sorted(files, key=lambda name: (name in REFERRING, name)):
        write_atomically(folder / name, files[name])
        if fnmatch(name, "samples-*.npy") and "/" not in name:  # its pieces are joined in it
            deletion.delete(folder, [(folder / name).with_suffix(".parts")])
    if "record.json" in files:  # a run with a record has not failed
        (folder / "failed.json").unlink(missing_ok=True)


def _changed(folder: Path, seen: Seen, only: tuple[str, ...]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the path of each file that has changed since ``seen``, and its state."""
    found = (Path(here, name) for here, _, names in os.walk(folder) for name in names)  # folders may vanish meanwhile
    for path in sorted(found, key=lambda path: (path.name not in REFERRING, str(path))):
        name = str(path.relative_to(folder))
        wanted = any(fnmatch(name, each) for each in only) and not any(fnmatch(name, each) for each in LOCAL)
        if path.name.startswith(".") or not wanted:
            continue
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        state = status.st_mtime_ns, status.st_size
        if path.is_file() and seen.get(name) != state:
            yield name, state
