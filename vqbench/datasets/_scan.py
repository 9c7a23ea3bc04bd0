"""The picture files below a folder, in the containers that the world stores them in. Needs no torch.

Plain files, members of tar archives that are not compressed (shards in the layout of webdataset), and values of lmdb
environments (LSUN as published) are all entries: bytes at a place, in the order of their names.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench.errors import AssetError, UsageError

SUFFIXES = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "jp2", "j2k"}
    | {"ppm", "pgm", "pbm", "pnm", "tga", "ico", "pcx"}
)


@dataclass(frozen=True)
class Entry:
    """One picture file: its name below the folder, where it lies, and what shows that it has changed."""

    name: str
    size: int  # in bytes
    stamp: int  # time of change of the file, or of its container, in ns
    offset: int = 0  # within a container of the name's first part


@dataclass
class Scan:
    """What lies below a folder, and the state of all folders and containers that this rests on."""

    entries: list[Entry]
    watched: dict[str, int]  # name below the folder -> its time of change in ns


def is_picture(name: str) -> bool:
    """Whether a file is meant to be a picture, by its name. Hidden files are not."""
    last = name.rpartition("/")[2]
    return not last.startswith(".") and last.rpartition(".")[2].lower() in SUFFIXES and "." in last


def scan(root: Path) -> Scan:
    """All entries below ``root``, sorted by name. Raises AssetError where it cannot be read."""
    if (root / "data.mdb").is_file():
        return Scan(sorted(_lmdb_entries(root), key=_by_name), {"data.mdb": _changed(root / "data.mdb")})
    out = Scan([], {})
    try:
        for folder, names, files in os.walk(root, followlinks=True, onerror=_raise):
            if len(Path(folder).relative_to(root).parts) > 32:
                raise AssetError(f"{folder}: more than 32 folders deep; does a link lead back?")
            names[:] = sorted(name for name in names if not name.startswith("."))
            here = Path(folder).relative_to(root).as_posix()
            out.watched[here] = os.stat(folder).st_mtime_ns
            for file in files:
                _add(out, root, f"{here}/{file}".removeprefix("./"))
    except OSError as error:
        raise AssetError(
            f"{error.filename or root}: cannot be read ({error.strerror}); mend its permissions"
        ) from error
    out.entries.sort(key=_by_name)
    return out


def _by_name(entry: Entry) -> str:
    return entry.name


def _raise(error: OSError) -> None:
    raise error


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def _add(out: Scan, root: Path, name: str) -> None:
    """The file ``name``, if it is a picture or holds some."""
    if is_picture(name):
        status = os.stat(root / name)
        out.entries.append(Entry(name, status.st_size, status.st_mtime_ns))
    elif name.endswith(".tar"):
        out.watched[name] = _changed(root / name)
        out.entries += _tar_entries(root, name)


def _tar_entries(root: Path, name: str) -> Iterator[Entry]:
    try:
        with tarfile.open(root / name, "r:") as archive:
            for member in archive:
                if member.isreg() and is_picture(member.name):
                    yield Entry(f"{name}/{member.name}", member.size, _changed(root / name), member.offset_data)
    except tarfile.TarError as error:
        raise AssetError(f"{root / name}: not a whole tar archive ({error}); fetch it again") from error


def _lmdb_entries(root: Path) -> Iterator[Entry]:
    stamp = _changed(root / "data.mdb")
    with _environment(root).begin(buffers=True) as view:
        for key, value in view.cursor():
            yield Entry(bytes(key).decode("latin-1"), len(value), stamp)


_environments: dict[tuple[str, int], Any] = {}


def _environment(root: Path) -> Any:
    """The lmdb environment at ``root``, opened once a process, as lmdb wants it."""
    key = str(root), os.getpid()
    if key not in _environments:
        try:
            import lmdb
        except ImportError:
            raise UsageError(f"{root}: reading lmdb needs one more package; pip install 'vqbench[lmdb]'") from None
        try:
            _environments[key] = lmdb.open(str(root), readonly=True, lock=False, readahead=False, max_spare_txns=32)
        except lmdb.Error as error:
            raise AssetError(f"{root}: not an lmdb environment that can be read ({error}); fetch it again") from error
    return _environments[key]


def unchanged(root: Path, watched: Mapping[str, int]) -> bool:
    """Whether nothing was added, removed or renamed below ``root`` since it was scanned; reads no file.

    A file that was overwritten under its own name goes unseen here: its content is checked whenever it is read.
    """
    try:
        return all(_changed(root / name) == stamp for name, stamp in watched.items())
    except OSError:
        return False


def content(root: Path, name: str, size: int, offset: int) -> bytes:
    """The bytes of one entry. Raises OSError where it is gone."""
    if offset:
        archive, _, _ = name.partition(".tar/")
        with open(root / f"{archive}.tar", "rb") as file:
            file.seek(offset)
            return file.read(size)
    if (root / "data.mdb").is_file() and not (root / name).is_file():
        with _environment(root).begin() as view:
            value = view.get(name.encode("latin-1"))
        if value is None:
            raise FileNotFoundError(2, "no such key", name)
        return value
    return (root / name).read_bytes()
