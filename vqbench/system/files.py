"""Read files from any source: regular ones, of a sane size, within limits.

A pipe or a device would block for ever, and a sparse file or a small archive can unpack to more than the memory. Each
is an :class:`InvalidFile`, an ``OSError`` whose ``strerror`` says what is wrong. Every other ``OSError`` is the
system's: permissions, a missing file, a failing disk.
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
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:
    import numpy as np

MB = 1_000_000
ARCHIVE = 4_000 * MB  # bytes of a package or checkpoint
MEMBER = 1_000 * MB  # bytes of one member, and of all that is unpacked of an archive
MEMBERS = 10_000  # arrays of one npz file
NPY_HEADER = 2**14  # bytes that the header of an array may take
_STORED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFDIR: "a folder",
}


class InvalidFile(OSError):
    """A file of another kind, too large, or damaged."""

    def __init__(self, why: str, path: str | os.PathLike[str] | None = None, number: int = errno.EINVAL) -> None:
        super().__init__(number, why, *(() if path is None else (os.fspath(path),)))


class NpyHeader(NamedTuple):
    """The header of an ``.npy`` file."""

    shape: tuple[int, ...]
    fortran: bool  # whether the first axis varies fastest
    dtype: np.dtype
    size: int  # bytes of the header itself


def open_regular(path: str | os.PathLike[str], limit: int | None = None) -> BinaryIO:
    """Open a regular file of at most ``limit`` bytes; never blocks.

    Raises InvalidFile for anything else, and OSError for what the system refuses.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except ValueError:
        raise InvalidFile("no file can have this name", path) from None
    try:
        require_regular(os.fstat(descriptor), path, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def require_regular(status: os.stat_result, path: str | os.PathLike[str], limit: int | None) -> None:
    """Raise InvalidFile unless ``status`` is of a regular file within ``limit``."""
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise InvalidFile(f"{kind}, not a regular file", path)
    if limit is not None and status.st_size > limit:
        raise _too_large(f"{megabytes(status.st_size)}, more than the {megabytes(limit)} that are read", path)


def read_regular(path: str | os.PathLike[str], limit: int) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes.

    Also if it grows meanwhile. Raises OSError.
    """
    with open_regular(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(f"more than the {megabytes(limit)} that are read", path)
    return content


def megabytes(count: int) -> str:
    """Format a number of bytes for a message: ``12.3 MB``."""
    return f"{count / MB:,.1f} MB"


def _too_large(why: str, path: str | os.PathLike[str] | None = None) -> InvalidFile:
    return InvalidFile(why, path, errno.EFBIG)


def gunzip(content: bytes, limit: int = MEMBER) -> bytes:
    """Unpack gzip to at most ``limit`` bytes.

    Raises InvalidFile for more, or for a damaged stream.
    """
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            return Limited(stream, limit).read()
    except (EOFError, zlib.error) as error:
        raise InvalidFile(f"not a whole gzip stream ({error})") from None


class Limited:
    """A stream that raises InvalidFile beyond ``limit`` bytes."""

    def __init__(self, stream: Any, limit: int = MEMBER) -> None:
        self.stream, self.limit, self.left = stream, limit, limit

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes; all that is left if it is negative."""
        wanted = self.left + 1 if size < 0 else min(size, self.left + 1)
        content: bytes = self.stream.read(wanted)
        self.left -= len(content)
        if self.left < 0:
            raise _too_large(f"it unpacks to more than {megabytes(self.limit)}")
        return content


def unzip(archive: zipfile.ZipFile, entry: str | zipfile.ZipInfo, limit: int = MEMBER) -> bytes:
    """Unpack one member of a zip archive to at most ``limit`` bytes.

    Raises InvalidFile for a larger or damaged one.
    """
    try:
        info = archive.getinfo(entry) if isinstance(entry, str) else entry
        if info.compress_type not in _STORED or info.flag_bits & 1:
            raise InvalidFile(f"{info.filename[:80]}: packed or encrypted in a way that is not read")
        if info.file_size > limit:
            raise _too_large(f"{info.filename[:80]}: unpacks to {megabytes(info.file_size)}, more than are read")
        with archive.open(info) as member:
            return Limited(member, limit).read()  # whatever its header says
    except (KeyError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InvalidFile(f"a member of the archive is damaged ({error})") from None


def load_npz(source: str | os.PathLike[str] | BinaryIO, limit: int = MEMBER) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file of at most ``limit`` bytes, unpacked.

    None needs a pickle.

    Raises InvalidFile for anything else, and OSError for what the system refuses.
    """
    if isinstance(source, (str, os.PathLike)):
        with open_regular(source, limit) as file:
            return load_npz(file, limit)
    arrays, left = {}, limit
    try:
        with zipfile.ZipFile(source) as archive:
            if len(archive.infolist()) > MEMBERS:
                raise InvalidFile(f"{len(archive.infolist()):,} arrays, more than are read")
            for info in archive.infolist():
                content = unzip(archive, info, left)
                left -= len(content)
                arrays[info.filename.removesuffix(".npy")] = load_npy(content)
    except (InvalidFile, MemoryError):
        raise
    except Exception as error:  # zipfile and its decompressors have no error in common
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # EINVAL: a position before the file's start
            raise
        raise InvalidFile(f"not a whole npz file ({error or type(error).__name__})") from None
    return arrays


def load_npy(content: bytes | memoryview) -> np.ndarray:
    """Return the array of an ``.npy`` file. Raises InvalidFile.

    Numbers, truth values or texts, never objects.
    """
    header = npy_header(content[:NPY_HEADER])
    try:
        return array_of(content[header.size :], header.dtype, header.shape, header.fortran)
    except ValueError as error:
        raise InvalidFile(f"not an array of numpy's ({str(error)[:100]})") from None


def npy_header(start: bytes | memoryview) -> NpyHeader:
    """Parse the header of an ``.npy`` file from its first bytes.

    Raises InvalidFile.
    """
    import numpy as np

    stream = io.BytesIO(start)
    try:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of its format")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except Exception as error:  # numpy parses the header as Python, which fails in many ways
        raise InvalidFile(f"not an array of numpy's ({str(error)[:100]})") from None
    return NpyHeader(shape, fortran, dtype, stream.tell())


def array_of(content: bytes | memoryview, dtype: np.dtype, shape: tuple[int, ...], fortran: bool = False) -> np.ndarray:
    """Return a copy of ``content`` as an array.

    Raises ValueError as :func:`require_array` does.
    """
    import numpy as np

    require_array(dtype, shape, len(content))
    flat = np.frombuffer(content, dtype) if len(content) else np.empty(0, dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy("K")


def require_array(dtype: np.dtype, shape: tuple[int, ...], size: int) -> None:
    """Raise ValueError unless an array of ``shape`` takes ``size`` bytes.

    Also for arrays of objects.
    """
    if dtype.kind not in "biufcSU" or dtype.hasobject or dtype.fields or dtype.subdtype:
        raise ValueError(f"values of the type {dtype!s:.40}")
    if not all(type(side) is int and side >= 0 for side in shape) or len(shape) > 32:
        raise ValueError("an impossible shape")
    if math.prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size:,} bytes for a shape of {str(shape)[:60]}")
