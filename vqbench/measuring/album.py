"""What a run keeps for a page beside its record: how its codebook was used, and pictures.

``curves.npz`` is written when a training ends, ``portrait.npz`` when it was measured. Both are small, neither decides
anything, and runs without them are shown with what they have. No torch here: pages are made where there is none.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vqbench.errors import Damaged
from vqbench.store import write_atomically

CURVES, PORTRAIT = "curves.npz", "portrait.npz"
FILES = (CURVES, PORTRAIT)
PUBLISHED = 250_000  # bytes of a file that is published at most
SHADES = 8  # of a doubling: a count n is kept as round(8 · log2(1 + n)), in one byte up to 2^31


@dataclass(frozen=True)
class Curves:
    """How often each code was used in each epoch of the training."""

    shades: np.ndarray  # (epochs, lines) uint8, see :func:`shades`
    depth: int  # codes a position; lines are those of the first depth, then those of the second
    merged: int  # neighbouring codes that share a line, of which the most used is kept


@dataclass(frozen=True)
class Portrait:
    """Codes and pictures of the selected model, from the test split."""

    positions: int  # of the code map
    counts: np.ndarray | None  # (depth, K) int64: how often each code occurs; None without a codebook
    chosen: np.ndarray  # (P,) int64: positions of the pictures in the test split
    groups: np.ndarray  # (P,) str: "same", or "worst", "median", "best" by LPIPS
    scores: np.ndarray  # (P,) float32: LPIPS, not-a-number where it was not measured
    originals: np.ndarray  # (P, C, S, S) uint8
    reconstructions: np.ndarray  # likewise
    codes_at: np.ndarray | None  # (K, 2) float32: codes in the plane of the features' two main directions
    features_at: np.ndarray | None  # (F, 2) float32: some features
    explained: np.ndarray | None  # (2,) float32: shares of the features' variance in the two directions
    decoded: np.ndarray | None  # (k, C, s, s) uint8: codes decoded alone, the most used first
    decoded_codes: np.ndarray | None  # (k,) int64: which these are


Kept = TypeVar("Kept", Curves, Portrait)


def shades(counts: np.ndarray) -> np.ndarray:
    """Counts as bytes, by their logarithm: within 5 % of each other, and zero for none alone."""
    return np.round(SHADES * np.log2(1 + counts.astype(np.float64))).astype(np.uint8)


def write(folder: Path, kept: Curves | Portrait) -> None:
    """Store ``kept`` in a run's folder, in place of what was there."""
    arrays = {field.name: getattr(kept, field.name) for field in fields(kept)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]
    write_atomically(folder / (CURVES if isinstance(kept, Curves) else PORTRAIT), buffer.getvalue())


def read_curves(folder: Path) -> Curves | None:
    """What :func:`write` stored, or None if nothing was. Raises Damaged."""
    return _read(folder / CURVES, Curves)


def read_portrait(folder: Path) -> Portrait | None:
    """What :func:`write` stored, or None if nothing was. Raises Damaged."""
    return _read(folder / PORTRAIT, Portrait)


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays: dict[str, Any] = dict(stored)
        numbers = {field.name: int(arrays[field.name]) for field in fields(kind) if field.type == "int"}
        optional = {field.name: None for field in fields(kind) if "None" in str(field.type)}
        return kind(**(optional | arrays | numbers))
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise Damaged(f"{path}: damaged ({error}); delete it, and the page goes without it") from error


def copy(source: Path, target: Path) -> list[Path]:
    """Copy what a run keeps for pages from one folder to another; which files were left, being too large."""
    there = [source / name for name in FILES if (source / name).exists()]
    for path in there:
        if path.stat().st_size <= PUBLISHED:
            write_atomically(target / path.name, path.read_bytes())
    return [path for path in there if path.stat().st_size > PUBLISHED]
