"""Arrays of images in files as an input: .npy, .npz and .pt, read part by part."""

from __future__ import annotations

import os
import threading
import zipfile
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqbench.assets.image_scan import stamp
from vqbench.errors import AssetError, UsageError, nearest
from vqbench.measuring.inputs.image_input import DamagedImage, InputImage
from vqbench.system import files

NAME = "images"  # of the array in a file that has several
BLOCK = 32  # images that are read at a time


class ArrayFile:
    """The images of an array (N, C, H, W) or (N, H, W, C), uint8 or floats.

    Only the images that are asked for are in memory. ``array`` names one of several arrays.
    """

    names = None

    def __init__(self, path: Path, array: str | None = None) -> None:
        self.path, self.kind = str(path), f"array ({path.suffix})"
        self._status = os.stat(path)
        self._array = array
        try:
            self._rows = _rows(path, array)
        except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            raise UsageError(f"{path}: not an array of numbers ({reason[:200]})") from None
        shape, dtype = self._rows.shape, self._rows.dtype
        self._last = _channels_last(shape, str(path))
        self.notes = [f"{path} is read as (N, H, W, C)."] if self._last else []
        if dtype != np.uint8 and (dtype.kind != "f" or dtype.itemsize > 8):  # torch has no longer floats
            raise UsageError(f"{path}: images of type {dtype}; give uint8 (0 to 255), or floats")
        if not shape[0]:
            raise UsageError(f"{path}: an array of shape {shape} has no image; give at least one")

    def __len__(self) -> int:
        return self._rows.shape[0]

    def read(self, positions: Sequence[int]) -> list[InputImage | DamagedImage]:
        if not positions:
            return []
        first, last = min(positions), max(positions)
        block = self._block(first, last + 1)
        return [InputImage(block[place - first], block.shape[1] == 1) for place in positions]

    def is_float(self) -> bool:
        return self._rows.dtype.kind == "f"

    def has_names(self) -> bool:
        """Return whether the file holds arrays by name, of which one is read."""
        return self._rows.by_name

    def stamp(self) -> list[Any]:
        return [os.path.realpath(self.path), self._array, self._status.st_size, stamp(self._status)]

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield all images in order, (n, C, H, W) each."""
        for start in range(0, len(self), BLOCK):
            yield self._block(start, min(start + BLOCK, len(self)))

    def _block(self, start: int, stop: int) -> np.ndarray:
        try:
            block: np.ndarray = self._rows.read(start, stop)
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise AssetError(f"{self.path}: cannot be read any more ({error}); restore it") from error
        return block.transpose(0, 3, 1, 2) if self._last else block


class RowReader(NamedTuple):
    """The rows of an array along its first axis."""

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Any  # (start, stop) -> those rows
    by_name: bool = False  # the file holds arrays by name, perhaps several


def _rows(path: Path, array: str | None) -> RowReader:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        return _npy_rows(path)
    return _npz_rows(path, array) if suffix == ".npz" else _torch_rows(path, array)


def _npy_rows(path: Path) -> RowReader:
    file = files.open_regular(path)
    header = files.npy_header(file.read(files.NPY_HEADER))
    files.require_array(header.dtype, header.shape, os.fstat(file.fileno()).st_size - header.size)
    return _seeking(file, header.size, header)


def _npz_rows(path: Path, array: str | None) -> RowReader:
    archive = zipfile.ZipFile(files.open_regular(path))
    members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
    name = _chosen(members, array, path)
    with archive.open(members[name]) as start:
        header = files.npy_header(start.read(files.NPY_HEADER))
    files.require_array(header.dtype, header.shape, members[name].file_size - header.size)
    return _seeking(archive.open(members[name]), header.size, header)._replace(by_name=True)


def _seeking(file: Any, offset: int, header: files.NpyHeader) -> RowReader:
    """Read rows of the array that begins at ``offset`` of an open file."""
    if header.fortran:
        raise ValueError("the first axis varies fastest; np.save(path, np.ascontiguousarray(array)) writes another")
    row = prod(header.shape[1:]) * header.dtype.itemsize
    native = header.dtype.newbyteorder("=")  # torch reads no other order of bytes
    lock = threading.Lock()

    def read(start: int, stop: int) -> np.ndarray:
        with lock:
            file.seek(offset + start * row)
            content = file.read((stop - start) * row)
        if len(content) < (stop - start) * row:
            raise EOFError("it is truncated")
        rows = np.frombuffer(content, header.dtype).reshape(stop - start, *header.shape[1:])
        return rows.astype(native, copy=False)

    return RowReader(header.shape, native, read)


def _torch_rows(path: Path, array: str | None) -> RowReader:
    """Open a tensor, or a dictionary of tensors, that torch.save wrote.

    It is loaded as weights alone, so that no code is run.
    """
    import pickle

    import torch

    files.open_regular(path).close()
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError:
        raise ValueError("it is a pickle of more than tensors, which is not loaded") from None
    except RuntimeError as error:
        if "mmap can only" not in str(error):
            raise
        raise ValueError("not in the format that torch.save writes since torch 1.6; save it again") from None
    if by_name := isinstance(content, dict):
        tensors = {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
        content = tensors[_chosen(tensors, array, path)]
    if not isinstance(content, torch.Tensor):
        raise ValueError(f"a {type(content).__name__}, not a tensor")
    if content.layout != torch.strided or content.is_meta or content.is_quantized:
        raise ValueError("a sparse, meta or quantized tensor; save a dense one that has values")
    if (content.is_floating_point() and content.element_size() < 2) or content.dtype == torch.bfloat16:
        raise ValueError(f"{str(content.dtype).removeprefix('torch.')} has too few digits for images; save float32")
    tensor = content.detach()
    kind = torch.empty(0, dtype=tensor.dtype).numpy().dtype
    return RowReader(tuple(tensor.shape), kind, lambda start, stop: tensor[start:stop].numpy(), by_name)


def _chosen(arrays: Any, wanted: str | None, path: Path) -> str:
    """Return the name of the array that is meant."""
    if wanted is not None:
        if wanted not in arrays:
            raise UsageError(f"--array {wanted}: no array of this name in {path}; {nearest(wanted, arrays)}")
        return wanted
    if not arrays:
        raise ValueError("no array is in it")
    if len(arrays) == 1:
        return str(next(iter(arrays)))
    if NAME in arrays:
        return NAME
    raise UsageError(f"{path}: {len(arrays)} arrays ({', '.join(list(arrays)[:6])}); choose one with --array NAME")


def _channels_last(shape: tuple[int, ...], path: str) -> bool:
    """Return whether channels are the last axis.

    Raises UsageError unless they are the last or the second.
    """
    if len(shape) == 4 and shape[1] in (1, 3):
        return False
    if len(shape) == 4 and shape[3] in (1, 3):
        return True
    raise UsageError(f"{path}: an array of shape {shape}; images are (N, C, H, W) or (N, H, W, C) with 1 or 3 channels")
