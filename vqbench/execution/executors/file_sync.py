"""A run's folder as bytes that travel: what is there of it, or what has changed in it since it was looked at last."""

from __future__ import annotations

from pathlib import Path

from vqbench.system.writing import write_atomically

Files = dict[str, bytes]  # path below the run's folder -> content
Seen = dict[str, tuple[int, int]]  # likewise -> time of change and size

LAST = ("last.pt", "record.json")  # refer to other files: read before them, written after them


def pack(folder: Path, seen: Seen | None = None, only: tuple[str, ...] = ()) -> Files:
    """The content of the run's ``folder`` but for its lock, or of ``only`` some files; and not what was ``seen``.

    ``seen`` is brought up to date. A checkpoint is read before what it refers to, so that this is as new or newer.
    """
    seen = {} if seen is None else seen
    files: Files = {}
    for path in sorted(folder.rglob("*"), key=lambda path: (path.name not in LAST, str(path))):
        name = str(path.relative_to(folder))
        if path.name.startswith(".") or name == "lock" or (only and name not in only):
            continue
        try:
            status = path.stat()
            if not path.is_file() or seen.get(name) == (status.st_mtime_ns, status.st_size):
                continue
            files[name] = path.read_bytes()
        except FileNotFoundError:  # set aside meanwhile
            continue
        seen[name] = status.st_mtime_ns, status.st_size
    return files


def unpack(folder: Path, files: Files) -> None:
    """Write ``files`` into the run's ``folder``, what refers to others last. Raises Unwritable where that fails."""
    for name in sorted(files, key=lambda name: (name in LAST, name)):
        write_atomically(folder / name, files[name])
    if "record.json" in files:  # an earlier failure is forgotten
        (folder / "failed.json").unlink(missing_ok=True)
