"""The content of assets: bytes of data files or tensors, and their digests."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from vqbench.system import files

Arrays = dict[str, np.ndarray]
Content = bytes | Arrays

# Canonical names of data files.
IDX_NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR10_NAMES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


def digest(content: Content, algorithm: str) -> str:
    """Return the hexadecimal digest of a file's bytes, or of tensors.

    Bytes by ``algorithm``, tensors by :func:`digest_of_arrays`.
    """
    if isinstance(content, dict):
        return digest_of_arrays(content)
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


def digest_of_arrays(arrays: Arrays) -> str:
    """Return the sha256 of arrays.

    Over the sorted names: each in UTF-8, a zero byte, then its float32 values, little-endian, in C order.
    """
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(name.encode() + b"\0")
        sha.update(np.ascontiguousarray(arrays[name], dtype="<f4").data)
    return sha.hexdigest()


def digest_of_file(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file that gets the name ``path`` by rename once it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with unfinished.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def save(content: Content, path: Path) -> None:
    """Write a data file unchanged, tensors as an uncompressed ``.npz``."""
    with replacing(path) as file:
        if isinstance(content, dict):
            np.savez(file, **content)  # type: ignore[arg-type]  # no array is called allow_pickle
        else:
            file.write(content)


def load_npz(path: Path) -> Arrays:
    """Read the tensors that :func:`save` wrote.

    Raises OSError for anything else, also for what would be larger than memory once unpacked.
    """
    return files.load_npz(path)
