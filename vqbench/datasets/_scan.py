"""The image files below a folder, in the containers that the world stores them in. Needs no torch.

Plain files, members of tar archives that are not compressed (shards in the layout of webdataset), and values of lmdb
environments (LSUN as published) are all entries: bytes at a place, in the order of their names.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from vqbench.datasets import _lmdb
from vqbench.errors import AssetError
from vqbench.system.files import MB, open_regular, read_regular

SUFFIXES = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "jp2", "j2k"}
    | {"ppm", "pgm", "pbm", "pnm", "tga", "ico", "pcx", "mpo"}
)
# What lies beside images everywhere and is none: not worth a word.
ASIDE = frozenset(
    {".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".htm", ".yaml", ".yml", ".toml"}
    | {".ini", ".cfg", ".cls", ".log", ".pdf", ".py", ".sh", ".db", ".lnk", ".url", ".lock", ".sha256", ".md5"}
)
ASIDE_NAMES = frozenset({"readme", "license", "licence", "copying", "notice", "authors", "changelog"})
IMAGE = 2**28  # bytes of one image file
ARCHIVE = 2**44  # bytes of a tar archive, of which the heads of its members are read
HEAD = 10 * MB  # bytes of one head, long names included
GONE = -1  # the size of a file that is listed but cannot be asked for


@dataclass(frozen=True)
class ImageFile:
    """One image file: its name below the folder, where it lies, and what shows that it has changed."""

    name: str
    size: int  # in bytes
    stamp: int  # of the file, or of its container
    offset: int = 0  # within a container of the name's first part


@dataclass
class Scan:
    """What lies below a folder, and the state of all folders and containers that this rests on."""

    entries: list[ImageFile]
    watched: dict[str, int]  # name below the folder -> its stamp
    passed: Counter[str] = field(default_factory=Counter)  # suffix -> how many files are no images by their names


def is_image(name: str) -> bool:
    """Whether a file is meant to be an image, by its name. Hidden files are not."""
    last = name.rpartition("/")[2]
    return not last.startswith(".") and last.rpartition(".")[2].lower() in SUFFIXES and "." in last


def stamp(status: os.stat_result) -> int:
    """What changes whenever a file is written, also where it is given its old time of change again."""
    return (status.st_mtime_ns + status.st_ctime_ns) & (2**63 - 1)


def scan(root: Path) -> Scan:
    """All entries below ``root``, sorted by name. Raises AssetError where it cannot be read."""
    if (root / _lmdb.FILE).is_file():
        changed = stamp(os.stat(root / _lmdb.FILE))
        found = [ImageFile(name, size, changed, offset) for name, size, offset in _lmdb.entries(root)]
        return Scan(sorted(found, key=_by_name), {_lmdb.FILE: changed})
    out = Scan([], {})
    try:
        for folder, names, files in os.walk(root, followlinks=True, onerror=_raise):
            if len(Path(folder).relative_to(root).parts) > 32:
                raise AssetError(f"{folder}: more than 32 folders deep; does a link lead back?")
            names[:] = sorted(name for name in names if not name.startswith("."))
            here = Path(folder).relative_to(root).as_posix()
            out.watched[here] = stamp(os.stat(folder))
            for file in files:
                _add(out, root, f"{here}/{file}".removeprefix("./"))
    except OSError as error:
        raise AssetError(
            f"{error.filename or root}: cannot be read ({error.strerror}); mend its permissions"
        ) from error
    out.entries.sort(key=_by_name)
    return out


def _by_name(entry: ImageFile) -> str:
    return entry.name


def _raise(error: OSError) -> None:
    raise error


def _add(out: Scan, root: Path, name: str) -> None:
    """The file ``name``, if it is an image or holds some."""
    if is_image(name):
        out.entries.append(_entry(root, name))
    elif name.endswith(".tar"):
        out.watched[name] = stamp(os.stat(root / name))
        out.entries += _tar_entries(root, name, out.watched[name], out.passed)
    else:
        _pass(out.passed, name)


def _entry(root: Path, name: str) -> ImageFile:
    """A file of its own. A link that leads nowhere is one, too, so that it is told as damaged."""
    try:
        status = os.stat(root / name)
    except OSError:
        return ImageFile(name, GONE, 0)
    return ImageFile(name, status.st_size if stat.S_ISREG(status.st_mode) else GONE, stamp(status))


def _pass(passed: Counter[str], name: str) -> None:
    """Count a file that is no image by its name; hidden ones apart."""
    last = name.rpartition("/")[2]
    if not last.startswith("."):
        stem, dot, suffix = last.rpartition(".")
        if dot or last.lower() not in ASIDE_NAMES:
            passed[(".tar" if stem.endswith(".tar") else "") + dot + suffix.lower()[:12] if dot else ""] += 1


def passed_over(passed: Mapping[str, int], all_of_them: bool = False) -> str:
    """Which files were passed over, by suffix and count: ``100 .heic, 1 .zip``. Lists and texts only if asked for."""
    told = {suffix: count for suffix, count in passed.items() if all_of_them or suffix not in ASIDE}
    ordered = sorted(told.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in ordered[:5]]
    return ", ".join(named) + (f" and {sum(count for _, count in ordered[5:]):,} others" if len(ordered) > 5 else "")


class _Heads(io.FileIO):
    """A tar archive of which only heads are read: none so large that it would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= HEAD:
            raise tarfile.ReadError(f"a head of {size:,} bytes")
        return super().read(size) or b""


def _tar_entries(root: Path, name: str, changed: int, passed: Counter[str]) -> Iterator[ImageFile]:
    open_regular(root / name, ARCHIVE).close()
    try:
        with _Heads(root / name) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if archive.offset <= member.offset:  # a negative size leads back, and round for ever
                    raise tarfile.ReadError("a member of a negative size")
                if member.isreg() and is_image(member.name):
                    yield ImageFile(f"{name}/{member.name}", member.size, changed, member.offset_data)
                elif member.isreg():
                    _pass(passed, member.name)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise AssetError(f"{root / name}: not a whole tar archive ({error}); fetch it again") from error


def unchanged(root: Path, watched: Mapping[str, int]) -> bool:
    """Whether nothing was added, removed or renamed below ``root`` since it was scanned; asks for no file.

    A file that was overwritten under its own name goes unseen here; see :func:`altered`.
    """
    try:
        return all(stamp(os.stat(root / name)) == was for name, was in watched.items())
    except OSError:
        return False


def altered(root: Path, name: str, size: int, was: int) -> bool:
    """Whether a file of its own is not what it was when it was scanned, by its size and its stamp."""
    now = _entry(root, name)
    return (now.size, now.stamp) != (size, was)


def content(root: Path, name: str, size: int, offset: int) -> bytes:
    """The bytes of one entry. Raises OSError where it is gone, no regular file, or too large for an image."""
    if not offset:
        return read_regular(root / name, IMAGE)
    if size > IMAGE:
        raise OSError(27, f"{size / MB:,.1f} MB, more than an image has")
    with open_regular(_container(root, name), ARCHIVE) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise OSError(5, "its archive is cut off")
    return data


def _container(root: Path, name: str) -> Path:
    """The file in which an entry lies: the first tar archive of its name, or the environment."""
    end = name.find(".tar/")
    while end >= 0:
        if (archive := root / name[: end + 4]).is_file():
            return archive
        end = name.find(".tar/", end + 1)
    return root / _lmdb.FILE
