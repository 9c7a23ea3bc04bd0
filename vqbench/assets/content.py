"""What an asset consists of: the bytes of a data file or the tensors of a net, and the digest that names them."""

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
    """The hexadecimal digest of a file's bytes by ``algorithm``, or of tensors by ``digest_of_arrays``."""
    if isinstance(content, dict):
        return digest_of_arrays(content)
    return hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()


def digest_of_arrays(arrays: Arrays) -> str:
    """Sha256 over the sorted names: each in UTF-8, a zero byte, then its float32 values, little-endian, in C order."""
    sha = hashlib.sha256()
    for name in sorted(arrays):
        sha.update(name.encode() + b"\0")
        sha.update(np.ascontiguousarray(arrays[name], dtype="<f4").data)
    return sha.hexdigest()


def digest_of_file(path: Path, algorithm: str = "sha256") -> str:
    """The hexadecimal digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the name ``path`` once it is whole; nobody ever sees a part of it."""
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
    """Write a data file as it is, tensors as an uncompressed ``.npz``."""
    with replacing(path) as file:
        if isinstance(content, dict):
            np.savez(file, **content)  # type: ignore[arg-type]  # no array is called allow_pickle
        else:
            file.write(content)


def load_npz(path: Path) -> Arrays:
    """The tensors that ``save`` wrote. Raises OSError for whatever else, be it larger than memory once unpacked."""
    return files.load_npz(path)
