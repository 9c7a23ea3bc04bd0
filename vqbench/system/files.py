"""Read files that anybody may have written: regular ones of a sane size only, unpacked within limits.

A pipe or a device would block for ever, a sparse file or a small archive can stand for more than the memory holds. Each
is an ``OSError`` here, whose ``strerror`` says what is wrong, so that a caller's sentence for unreadable files fits.
"""

from __future__ import annotations

import errno
import gzip
import io
import math
import os
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import numpy as np

MB = 1_000_000
ARCHIVE = 4_000 * MB  # bytes of a package or checkpoint
MEMBER = 1_000 * MB  # bytes of one member, and of all that is unpacked of an archive
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


def open_regular(path: str | os.PathLike[str], limit: int) -> BinaryIO:
    """Open a regular file of at most ``limit`` bytes to read. Raises OSError for anything else, and never blocks."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError:
        raise OSError(errno.EINVAL, "no file can have this name", os.fspath(path)) from None
    try:
        require_regular(os.fstat(descriptor), path, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(status: os.stat_result, path: str | os.PathLike[str], limit: int) -> None:
    """Raise OSError where ``status`` is that of no regular file, or of one with more than ``limit`` bytes."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", os.fspath(path))
    if status.st_size > limit:
        raise _too_large(f"{megabytes(status.st_size)}, more than the {megabytes(limit)} that are read", path)


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """The content of a regular file of at most ``limit`` bytes, even if it grows meanwhile. Raises OSError."""
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(f"more than the {megabytes(limit)} that are read", path)
    return content


def megabytes(count: int) -> str:
    """A number of bytes for a message: ``12.3 MB``."""
    return f"{count / MB:,.1f} MB"


def _too_large(why: str, path: str | os.PathLike[str] | None = None) -> OSError:
    return OSError(errno.EFBIG, why, os.fspath(path) if path is not None else None)


def gunzip(content: bytes, limit: int = MEMBER) -> bytes:
    """What gzip packed, where that is at most ``limit`` bytes. Raises OSError for more, or for a damaged stream."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return Limited(stream, limit).read()
    except (EOFError, zlib.error) as error:
        raise OSError(errno.EINVAL, f"not a whole gzip stream ({error})") from None


class Limited:
    """A stream of which at most ``limit`` bytes are read: more of it is an OSError."""

    def __init__(self, stream: Any, limit: int = MEMBER) -> None:
        self.stream, self.limit, self.left = stream, limit, limit

    def read(self, size: int = -1) -> bytes:
        """As of a file; without ``size``, or with a negative one, all that may be read."""
        wanted = self.left + 1 if size < 0 else min(size, self.left + 1)
        content: bytes = self.stream.read(wanted)
        self.left -= len(content)
        if self.left < 0:
            raise _too_large(f"it unpacks to more than {megabytes(self.limit)}")
        return content


def unzip(archive: zipfile.ZipFile, entry: str | zipfile.ZipInfo, limit: int = MEMBER) -> bytes:
    """One member of a zip archive of at most ``limit`` bytes. Raises OSError for a larger or damaged one."""
    try:
        info = archive.getinfo(entry) if isinstance(entry, str) else entry
        if info.compress_type not in _STORED or info.flag_bits & 1:
            raise OSError(errno.EINVAL, f"{info.filename[:80]}: packed or encrypted in a way that is not read")
        if info.file_size > limit:
            raise _too_large(f"{info.filename[:80]}: unpacks to {megabytes(info.file_size)}, more than are read")
        with archive.open(info) as member:
            return Limited(member, limit).read()  # whatever its header says
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise OSError(errno.EINVAL, f"a member of the archive is damaged ({error})") from None


def load_npz(source: str | os.PathLike[str] | BinaryIO, limit: int = MEMBER) -> dict[str, np.ndarray]:
    """The arrays of an npz file, which together take at most ``limit`` bytes; none needs a pickle. Raises OSError."""
    if isinstance(source, (str, os.PathLike)):
        with open_regular(source, limit) as file:
            return load_npz(file, limit)
    arrays, left = {}, limit
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                content = unzip(archive, info, left)
                left -= len(content)
                arrays[info.filename.removesuffix(".npy")] = load_npy(content)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise OSError(errno.EINVAL, f"not a whole npz file ({error})") from None
    return arrays


def load_npy(content: bytes) -> np.ndarray:
    """One array as numpy's ``.npy`` format has it: numbers, truth values or texts, never objects. Raises OSError."""
    import numpy as np

    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of its format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        return array_of(content[stream.tell() :], dtype, shape, fortran)
    except Exception as error:  # numpy parses the header as Python, which fails in many ways
        raise OSError(errno.EINVAL, f"not an array of numpy's ({str(error)[:100]})") from None


def array_of(content: bytes, dtype: np.dtype, shape: tuple[int, ...], fortran: bool = False) -> np.ndarray:
    """An array of its own over exactly ``content``. Raises ValueError for objects and for a shape that does not fit."""
    import numpy as np

    if dtype.kind not in "biufcSU" or dtype.hasobject or dtype.fields or dtype.subdtype:
        raise ValueError(f"values of the type {dtype!s:.40}")
    if not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 32:
        raise ValueError("an impossible shape")
    if math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"{len(content):,} bytes for a shape of {str(shape)[:60]}")
    flat = np.frombuffer(content, dtype) if content else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy("K")
