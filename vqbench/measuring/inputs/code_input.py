"""Codes of images as an input: whole numbers in a file."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vqbench.errors import UsageError, counted, nearest
from vqbench.system import stored_files

CODES, NAMES, NUM_CODES = "codes", "names", "num_codes"  # arrays of `vqbench encode` and `vqbench export`
SHAPES = "(N, tokens), (N, h, w) or (N, h, w, depth)"


class CodeInput:
    """Codes (N, h, w, depth) below ``num_codes``.

    ``names`` are those of their images, if the file has them.
    """

    def __init__(self, path: Path, num_codes: int | None) -> None:
        self.path = str(path)
        arrays = _arrays(path)
        name = CODES if CODES in arrays else _only(arrays, path)
        codes = arrays[name]
        if codes.dtype.kind not in "iu":
            raise UsageError(f"{path}: codes of type {codes.dtype}; give whole numbers, such as int64")
        if not 2 <= codes.ndim <= 4:
            raise UsageError(f"{path}: codes of shape {codes.shape}; give {SHAPES}")
        if not codes.size:
            raise UsageError(f"{path}: codes of shape {codes.shape}: there is no code in it; give at least one")
        codes = codes[:, None] if codes.ndim == 2 else codes
        self.codes = codes if codes.ndim == 4 else codes[..., None]
        self.num_codes = _size(path, arrays, num_codes)
        names = arrays.get(NAMES)
        self.names = [unicodedata.normalize("NFC", str(each)) for each in names] if names is not None else None
        low, high = int(codes.min()), int(codes.max())
        if low < 0 or high >= self.num_codes:
            raise UsageError(
                f"{path}: codes run from {low} to {high}, but those of {self.num_codes:,} are 0 to {self.num_codes - 1}"
            )

    @property
    def depth(self) -> int:
        return int(self.codes.shape[-1])

    def of(self, names: Sequence[str] | None, count: int) -> np.ndarray:
        """Return the position (count,) of each image's codes.

        By name where images and codes have names, else by position. Raises UsageError where they do not fit.
        """
        if len(self.codes) != count:
            raise UsageError(
                f"{self.path}: codes of {counted(len(self.codes), 'image')}, but {count:,} images; give one map for "
                "each image, in the same order"
            )
        if names is None or self.names is None:
            return np.arange(count)
        places = {_stem(name): place for place, name in enumerate(self.names)}
        missing = [name for name in names if name not in places]
        if missing:
            raise UsageError(f"{self.path}: no codes of {missing[0]}; --by-order matches them by position")
        return np.array([places[name] for name in names])


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if "." in name.rpartition("/")[2] else name


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix.lower() == ".npy":
            return {CODES: stored_files.large_array(path)[0]}
        return stored_files.arrays(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; give codes {SHAPES} as .npz or .npy") from None
    except ValueError as error:
        raise UsageError(f"{path}: not an array of whole numbers ({error})") from None


def _only(arrays: dict[str, np.ndarray], path: Path) -> str:
    if len(arrays) != 1:
        raise UsageError(f"{path}: {len(arrays)} arrays, none called {CODES!r}; {nearest(CODES, arrays)}")
    return next(iter(arrays))


def _size(path: Path, arrays: dict[str, np.ndarray], given: int | None) -> int:
    """Return the size of the codebook, as given or as the file has it."""
    stored = arrays.get(NUM_CODES)
    within = int(stored) if stored is not None and stored.shape == () and stored.dtype.kind in "iu" else None
    if given is None and within is None:
        raise UsageError(f"{path}: give the size of the codebook with --num-codes, since usage is a share of it")
    if given is not None and within is not None and given != within:
        raise UsageError(f"{path}: codes of a codebook of {within:,}, but --num-codes is {given:,}")
    size = given if given is not None else within
    assert size is not None
    if size < 2:
        raise UsageError(f"--num-codes {size}: give the size of the codebook, at least 2")
    return size
