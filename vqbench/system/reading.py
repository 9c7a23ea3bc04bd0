"""Read files of a results folder, and tell damage from a fault of the machine.

Every reader raises ValueError for content that is not what was written (a wrong format, an absurd size, no regular
file), FileNotFoundError for a missing file, and StoreError for whatever the machine refuses (permissions, memory, a
disk), which says nothing about the content.
"""

from __future__ import annotations

import io
import json
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.errors import StoreError

TEXT_LIMIT = 2**27  # bytes of a JSON file
FILE_LIMIT = 2**29  # bytes of an archive of arrays
ARRAYS_LIMIT = 2**29  # bytes of all its arrays, unpacked
MEMBERS = 10_000  # arrays of one archive
HEADER_LIMIT = 2**14  # bytes of the head of an array
DIMENSIONS = 8
KINDS = "biufU"  # of an array's items: numbers and words, never objects


def content(path: Path, limit: int | None = None) -> bytes:
    """The bytes of a regular file of at most ``limit`` bytes; nothing else is opened for reading, so nothing hangs."""
    with refusals(path), _opened(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if limit is not None and status.st_size > limit:
            raise ValueError(f"its {status.st_size:,} bytes are more than any such file has")
        return file.read()


def json_of(path: Path, limit: int = TEXT_LIMIT) -> Any:
    """The content of a JSON file: UTF-8, without NaN and infinity, of a sane size and depth."""
    data = content(path, limit)
    with refusals(path):
        return json_from(data)


def json_from(data: bytes) -> Any:
    """The JSON value that ``data`` are. Raises ValueError for anything else."""
    text = data.decode("utf-8")
    try:
        found = json.loads(text, parse_constant=_no_number)
        if "\\ud" in text or "\\uD" in text:  # half a character is no text, but for the bytes of a file's name
            json.dumps(found, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return found


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file. None of them is larger than what the file declares and the limits allow."""
    data = content(path, FILE_LIMIT)
    with refusals(path):
        try:
            return dict(_members(data))
        except (OSError, MemoryError):
            raise
        except Exception as error:  # zipfile and its decompressors have no error in common
            raise ValueError(str(error) or type(error).__name__) from error


def array_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array of an ``.npy`` file that is as long as they ask for; the rest is not read."""
    with refusals(path), _opened(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        shape, _, dtype, start = _header(io.BytesIO(file.read(HEADER_LIMIT)))
        _check_size(shape, dtype, status.st_size - start)
        return shape, dtype


def large_array(path: Path, after: int = 0) -> tuple[np.ndarray, bytes]:
    """The array of an ``.npy`` file of any size, in memory once, and the ``after`` bytes that follow it."""
    with refusals(path), _opened(path) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        shape, fortran, dtype, start = _header(io.BytesIO(file.read(HEADER_LIMIT)))
        _check_size(shape, dtype, status.st_size - start - after)
        file.seek(start)
        found = np.fromfile(file, dtype, prod(shape))
        if found.size != prod(shape):
            raise ValueError("it became shorter while it was read")
        return found.reshape(shape, order="F" if fortran else "C"), file.read(after)


def array(data: bytes | memoryview) -> np.ndarray:
    """The array of the content of an ``.npy`` file. Raises ValueError for anything else."""
    shape, fortran, dtype, start = _header(io.BytesIO(data[:HEADER_LIMIT]))
    _check_size(shape, dtype, len(data) - start)
    found = np.frombuffer(data, dtype, prod(shape), start) if prod(shape) else np.empty(0, dtype)
    return found.reshape(shape, order="F" if fortran else "C").copy()


def _header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype, int]:
    """Shape, order and type of an array, and where its items begin."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
    except Exception as error:  # numpy evaluates the header, and lets all errors of a tokenizer pass
        raise ValueError(f"not an array ({error})") from error
    return shape, fortran, dtype, file.tell()


def _check_size(shape: tuple[int, ...], dtype: np.dtype, size: int) -> None:
    if dtype.kind not in KINDS or dtype.itemsize == 0 or len(shape) > DIMENSIONS or any(side < 0 for side in shape):
        raise ValueError(f"an array of {dtype!s:.40} cannot be part of it")
    if max(shape, default=0) >= 2**40 or prod(shape) * dtype.itemsize != size:
        raise ValueError(f"{size:,} bytes are no array of shape {shape!s:.80} of {dtype}")


def _members(data: bytes) -> Iterator[tuple[str, np.ndarray]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        infos, left = archive.infolist(), ARRAYS_LIMIT
        if len(infos) > MEMBERS:
            raise ValueError(f"it has {len(infos):,} arrays")
        for info in infos:
            with archive.open(info) as member:
                unpacked = member.read(left + 1)  # whatever size the archive declares
            left -= len(unpacked)
            if left < 0:
                raise ValueError(f"its arrays have more than {ARRAYS_LIMIT:,} bytes")
            yield info.filename.removesuffix(".npy"), array(unpacked)


def _opened(path: Path) -> io.BufferedReader:
    """The file, opened without waiting for a writer, as a FIFO would."""
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Turn what the machine refuses into a StoreError. A missing file stays a FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except IsADirectoryError:
        raise ValueError("it is no regular file") from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    except MemoryError as error:
        raise StoreError(f"{path}: cannot be read (out of memory); use a machine with more") from error
