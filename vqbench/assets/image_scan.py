"""Find the image files below a folder, also in tar archives and lmdb.

Plain files, members of uncompressed tar archives (shards in the layout of webdataset), and values of lmdb environments
(LSUN as published) are all entries: bytes at an offset, in the order of their names. Must not import torch.
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

from vqbench.assets import lmdb_file
from vqbench.assets.image_file import is_image
from vqbench.errors import AssetError
from vqbench.system.files import MB, open_regular, read_regular

# Files that accompany images and are not mentioned.
ASIDE = frozenset(
    {".txt", ".md", ".rst", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".html", ".htm", ".yaml", ".yml", ".toml"}
    | {".ini", ".cfg", ".cls", ".log", ".pdf", ".py", ".sh", ".db", ".lnk", ".url", ".lock", ".sha256", ".md5"}
)
ASIDE_NAMES = frozenset({"readme", "license", "licence", "copying", "notice", "authors", "changelog"})
IMAGE = 2**28  # bytes of one image file
ARCHIVE = 2**44  # bytes of a tar archive, of which the headers of its members are read
HEAD = 10 * MB  # bytes of one header, long names included
GONE = -1  # the size of a file that is listed but cannot be opened


@dataclass(frozen=True)
class ImageFile:
    """One image file: name below the folder, location, and stamp of change."""

    name: str
    size: int  # in bytes
    stamp: int  # of the file, or of its container
    offset: int = 0  # within a container of the name's first part


@dataclass
class Scan:
    """The image files below a folder, and the times of folders and containers."""

    entries: list[ImageFile]
    watched: dict[str, int]  # name below the folder -> its stamp
    passed: Counter[str] = field(
        default_factory=Counter
    )  # suffix -> number of files that are not images by their names
    hidden: int = 0  # files whose names begin with a dot


def stamp(status: os.stat_result) -> int:
    """Return a number that changes whenever a file is written.

    Also if its time of modification is reset.
    """
    return (status.st_mtime_ns + status.st_ctime_ns) & (2**63 - 1)


def scan(root: Path) -> Scan:
    """List all entries below ``root``, sorted by name. Raises AssetError."""
    if (root / lmdb_file.FILE).is_file():
        changed = stamp(os.stat(root / lmdb_file.FILE))
        entries = [ImageFile(name, size, changed, offset) for name, size, offset in lmdb_file.entries(root)]
        return Scan(sorted(entries, key=_by_name), {lmdb_file.FILE: changed})
    out = Scan([], {})
    try:
        for folder, names, files in os.walk(root, followlinks=True, onerror=_raise):
            if len(Path(folder).relative_to(root).parts) > 32:
                raise AssetError(f"{folder}: more than 32 folders deep; remove a link that leads back")
            names[:] = sorted(name for name in names if not name.startswith("."))
            here = Path(folder).relative_to(root).as_posix()
            out.watched[here] = stamp(os.stat(folder))
            out.hidden += sum(file.startswith(".") for file in files)
            for file in files:
                _add(out, root, f"{here}/{file}".removeprefix("./"))
    except OSError as error:
        raise AssetError(f"{error.filename or root}: cannot be read ({error.strerror}); fix its permissions") from error
    out.entries.sort(key=_by_name)
    return out


def _by_name(entry: ImageFile) -> str:
    return entry.name


def _raise(error: OSError) -> None:
    raise error


def _add(out: Scan, root: Path, name: str) -> None:
    """Add the file ``name``, if it is an image, or the images in it."""
    if is_image(name):
        out.entries.append(_entry(root, name))
    elif name.endswith(".tar"):
        out.watched[name] = stamp(os.stat(root / name))
        out.entries += tar_entries(root, name, out.watched[name], out.passed)
    else:
        _pass(out.passed, name)


def _entry(root: Path, name: str) -> ImageFile:
    """Return the entry of a plain file; of a dangling link one that is damaged."""
    try:
        status = os.stat(root / name)
    except OSError:
        return ImageFile(name, GONE, 0)
    return ImageFile(name, status.st_size if stat.S_ISREG(status.st_mode) else GONE, stamp(status))


def _pass(passed: Counter[str], name: str) -> None:
    """Count a file that is not an image by its name, unless it is hidden."""
    last = name.rpartition("/")[2]
    if not last.startswith("."):
        stem, dot, suffix = last.rpartition(".")
        if dot or last.lower() not in ASIDE_NAMES:
            passed[(".tar" if stem.endswith(".tar") else "") + dot + suffix.lower()[:12] if dot else ""] += 1


def skipped_files(passed: Mapping[str, int], all_of_them: bool = False) -> str:
    """Format which files were skipped, by count and suffix: ``100 .heic, 1 .zip``.

    ``all_of_them``: also lists and texts.
    """
    counts = {suffix: count for suffix, count in passed.items() if all_of_them or suffix not in ASIDE}
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{count:,} {suffix or 'without a suffix'}" for suffix, count in ordered[:5]]
    return ", ".join(named) + (f" and {sum(count for _, count in ordered[5:]):,} others" if len(ordered) > 5 else "")


class _Heads(io.FileIO):
    """A tar archive of which only headers are read, of limited size."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= HEAD:
            raise tarfile.ReadError(f"a header of {size:,} bytes")
        return super().read(size) or b""


def tar_entries(root: Path, name: str, changed: int, passed: Counter[str]) -> Iterator[ImageFile]:
    """Yield the images in the archive ``name`` below ``root``.

    Other members are counted in ``passed``; ``changed`` is the stamp of the archive. Raises AssetError.
    """
    open_regular(root / name, ARCHIVE).close()
    try:
        with _Heads(root / name) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if archive.offset <= member.offset:  # a negative size leads back, in an endless loop
                    raise tarfile.ReadError("a member of a negative size")
                if member.isreg() and is_image(member.name):
                    yield ImageFile(f"{name}/{member.name}", member.size, changed, member.offset_data)
                elif member.isreg():
                    _pass(passed, member.name)
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        raise AssetError(f"{root / name}: not a whole tar archive ({error}); fetch it again") from error


def unchanged(root: Path, watched: Mapping[str, int]) -> bool:
    """Return whether nothing was added, removed or renamed since the scan.

    Compares times of folders and containers alone, so a file that was rewritten under its own name is not noticed; see
    :func:`altered`.
    """
    try:
        return all(stamp(os.stat(root / name)) == was for name, was in watched.items())
    except OSError:
        return False


def altered(root: Path, name: str, size: int, was: int) -> bool:
    """Return whether size or stamp of a plain file have changed since the scan."""
    now = _entry(root, name)
    return (now.size, now.stamp) != (size, was)


def content(root: Path, name: str, size: int, offset: int) -> bytes:
    """Read one entry.

    Raises OSError if it is gone, no regular file, or too large for an image.
    """
    if not offset:
        return read_regular(root / name, IMAGE)
    if size > IMAGE:
        raise OSError(27, f"{size / MB:,.1f} MB, more than an image has")
    with open_regular(_container(root, name), ARCHIVE) as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise OSError(5, "its archive is truncated")
    return data


def _container(root: Path, name: str) -> Path:
    """Return the container of an entry: a tar archive or the environment."""
    end = name.find(".tar/")
    while end >= 0:
        if (archive := root / name[: end + 4]).is_file():
            return archive
        end = name.find(".tar/", end + 1)
    return root / lmdb_file.FILE
