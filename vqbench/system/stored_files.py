"""Read and write files of results folders: whole or not at all, damage named.

Every reader raises ValueError for content that was not written by vqbench (another format, an absurd size, no regular
file), FileNotFoundError for a missing file, and StoreError for what the system refuses (permissions, memory, a failing
disk), which says nothing about the content. The files themselves are opened and unpacked by
:mod:`vqbench.system.files`.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.errors import StoreError, Unwritable
from vqbench.system import files

TEXT_LIMIT = 2**27  # bytes of a JSON file
FILE_LIMIT = 2**29  # bytes of an archive of arrays
ARRAYS_LIMIT = 2**29  # bytes of all its arrays, unpacked
SCRATCH = re.compile(r"\.[^.].*\.\d+")  # .NAME.PID, left by a process that was killed while it wrote


def content(path: Path, limit: int | None = None) -> bytes:
    """Return the bytes of a regular file of at most ``limit`` bytes.

    A pipe or a device never blocks.
    """
    with refusals(path), files.open_regular(path, limit) as file:
        return file.read()


def json_of(path: Path, limit: int = TEXT_LIMIT) -> Any:
    """Return the content of a JSON file of at most ``limit`` bytes.

    UTF-8, without NaN and infinity.
    """
    data = content(path, limit)
    with refusals(path):
        return json_from(data)


def json_from(data: bytes) -> Any:
    """Return the JSON value of ``data``. Raises ValueError for anything else."""
    text = data.decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
        if "\\ud" in text or "\\uD" in text:  # half a surrogate pair is no text, but for the bytes of a file's name
            json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogateescape")
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file.

    Together they take at most ``ARRAYS_LIMIT`` bytes.
    """
    with refusals(path), files.open_regular(path, FILE_LIMIT) as file:
        return files.load_npz(file, ARRAYS_LIMIT)


def array(data: bytes | memoryview) -> np.ndarray:
    """Return the array of the content of an ``.npy`` file. Raises ValueError."""
    with _content_errors():
        return files.load_npy(data)


def array_header(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of an ``.npy`` file whose length fits them.

    The array itself is not read.
    """
    with refusals(path), files.open_regular(path) as file:
        header = files.npy_header(file.read(files.NPY_HEADER))
        files.require_array(header.dtype, header.shape, os.fstat(file.fileno()).st_size - header.size)
        return header.shape, header.dtype


def large_array(path: Path, after: int = 0) -> tuple[np.ndarray, bytes]:
    """Return the array of an ``.npy`` file, and ``after`` bytes that follow it.

    The file may have any size.

    The array is in memory only once while it is read.
    """
    with refusals(path), files.open_regular(path) as file:
        header = files.npy_header(file.read(files.NPY_HEADER))
        files.require_array(header.dtype, header.shape, os.fstat(file.fileno()).st_size - header.size - after)
        file.seek(header.size)
        flat = np.fromfile(file, header.dtype, prod(header.shape))
        if flat.size != prod(header.shape):
            raise ValueError("it became shorter while it was read")
        return flat.reshape(header.shape, order="F" if header.fortran else "C"), file.read(after)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """Raise StoreError for refusals of the system, ValueError for bad content.

    A missing file stays a FileNotFoundError.
    """
    try:
        with _content_errors():
            yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error
    except MemoryError as error:
        raise StoreError(f"{path}: cannot be read (out of memory); use a machine with more") from error


@contextmanager
def _content_errors() -> Iterator[None]:
    try:
        yield
    except files.InvalidFile as error:
        raise ValueError(error.strerror) from error


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raise Unwritable for an error of the operating system."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{path}: cannot write ({error.strerror or error}); free space or mend its permissions"
        ) from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is kept but no longer read.

    Return the new path. Raises Unwritable.
    """
    numbers = ("", *(f".{number}" for number in range(2, 1000)))  # earlier ones are kept
    names = (path.with_name(f"{path.name}.damaged{number}") for number in numbers)
    aside = next((name for name in names if not os.path.lexists(name)), path.with_name(f"{path.name}.damaged"))
    with _writing(path):
        os.replace(path, aside)
    return aside


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old content or the new.

    Never a part of it, even after a power cut. Raises Unwritable; the old file is then unchanged.

    ``content`` may be several pieces, which are written one after the other.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with _writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(scratch, "wb") as file:
                file.writelines(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise


def copy_atomically(source: Path, target: Path) -> None:
    """Copy a regular file of any size as :func:`write_atomically` writes one.

    Raises StoreError, and ValueError unless ``source`` is a regular file.
    """
    with refusals(source), files.open_regular(source) as file:
        if not os.fstat(file.fileno()).st_size:  # an empty file cannot be mapped
            write_atomically(target, b"")
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as pages, memoryview(pages) as content:
            write_atomically(target, content)


def is_scratch(name: str) -> bool:
    """Return whether ``name`` is that of a file that is being written.

    Such a file is renamed when it is whole.

    >>> is_scratch(".last.pt.4711"), is_scratch("last.pt")
    (True, False)
    """
    return SCRATCH.fullmatch(name) is not None


def half_written(folder: Path) -> list[Path]:
    """List half-written files in ``folder`` and in its folders of samples."""
    paths = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_scratch(entry.name) and not entry.is_dir(follow_symlinks=False):
                paths.append(Path(entry.path))
            elif entry.name.endswith(".parts") and entry.is_dir(follow_symlinks=False):
                paths += half_written(Path(entry.path))
    return sorted(paths)
