"""The files of a run's folder as bytes, to be sent between machines."""

from __future__ import annotations

from pathlib import Path

from vqbench.system.stored_files import write_atomically

Files = dict[str, bytes]  # path below the run's folder -> content
Seen = dict[str, tuple[int, int]]  # path below the run's folder -> time of its last change, size

REFERRING = ("last.pt", "record.json")  # refer to other files: read before them, written after them


def pack(folder: Path, seen: Seen | None = None, only: tuple[str, ...] = ()) -> Files:
    """Read the files of a run's ``folder`` that have changed.

    Args:
        folder: The run's folder; its lock and temporary files are left out.
        seen: State of the files at the last call, which is updated; None reads all files.
        only: Names of the files to read; empty reads all.

    A checkpoint is read before the files that it refers to, so these are as new as it is, or newer.
    """
    seen = {} if seen is None else seen
    files: Files = {}
    for path in sorted(folder.rglob("*"), key=lambda path: (path.name not in REFERRING, str(path))):
        name = str(path.relative_to(folder))
        if path.name.startswith(".") or name == "lock" or (only and name not in only):
            continue
        try:
            status = path.stat()
            if not path.is_file() or seen.get(name) == (status.st_mtime_ns, status.st_size):
                continue
            files[name] = path.read_bytes()
        except FileNotFoundError:  # renamed meanwhile, as a damaged file is
            continue
        seen[name] = status.st_mtime_ns, status.st_size
    return files


def unpack(folder: Path, files: Files) -> None:
    """Write ``files`` into a run's ``folder``, those that refer to others last.

    Raises Unwritable where the folder cannot be written.
    """
    for name in sorted(files, key=lambda name: (name in REFERRING, name)):
        write_atomically(folder / name, files[name])
    if "record.json" in files:  # a run with a record has not failed
        (folder / "failed.json").unlink(missing_ok=True)
