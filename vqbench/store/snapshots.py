"""What a run keeps for a page beside its record: how its codebook was used, and images.

``curves.npz`` is written when a training ends, ``portrait.npz`` when it was measured. Both are small, neither decides
anything, and runs without them are shown with what they have. No torch here: pages are made where there is none.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vqbench.errors import Damaged, StoreError
from vqbench.system import reading
from vqbench.system.writing import write_atomically

CURVES, PORTRAIT = "curves.npz", "portrait.npz"
FILES = (CURVES, PORTRAIT)
PUBLISHED = 250_000  # bytes of a file that is published at most
LARGEST = 2**31  # beyond any number of positions or codes
SHADES = 8  # of a doubling: a count n is kept as round(8 · log2(1 + n)), in one byte up to 2^31


@dataclass(frozen=True)
class UsageHistory:
    """How often each code was used in each epoch of the training."""

    shades: np.ndarray  # (epochs, lines) uint8, see :func:`shades`
    depth: int  # codes a position; lines are those of the first depth, then those of the second
    merged: int  # neighbouring codes that share a line, of which the most used is kept


@dataclass(frozen=True)
class Snapshot:
    """Codes and images of the selected model, from the test split."""

    positions: int  # of the code map
    counts: np.ndarray | None  # (depth, K) int64: how often each code occurs; None without a codebook
    chosen: np.ndarray  # (P,) int64: positions of the images in the test split
    groups: np.ndarray  # (P,) str: "same", or "worst", "median", "best" by LPIPS
    scores: np.ndarray  # (P,) float32: LPIPS, not-a-number where it was not measured
    originals: np.ndarray  # (P, C, S, S) uint8
    reconstructions: np.ndarray  # likewise
    codes_at: np.ndarray | None  # (K, 2) float32: codes in the plane of the features' two main directions
    features_at: np.ndarray | None  # (F, 2) float32: some features
    explained: np.ndarray | None  # (2,) float32: shares of the features' variance in the two directions
    decoded: np.ndarray | None  # (k, C, s, s) uint8: codes decoded alone, the most used first
    decoded_codes: np.ndarray | None  # (k,) int64: which these are


Kept = TypeVar("Kept", UsageHistory, Snapshot)


def shades(counts: np.ndarray) -> np.ndarray:
    """Counts as bytes, by their logarithm: within 5 % of each other, and zero for none alone."""
    return np.round(SHADES * np.log2(1 + counts.astype(np.float64))).astype(np.uint8)


def write(folder: Path, kept: UsageHistory | Snapshot) -> None:
    """Store ``kept`` in a run's folder, in place of what was there."""
    arrays = {field.name: getattr(kept, field.name) for field in fields(kept)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]  # none is called allow_pickle
    write_atomically(folder / (CURVES if isinstance(kept, UsageHistory) else PORTRAIT), buffer.getvalue())


def read_curves(folder: Path) -> UsageHistory | None:
    """What :func:`write` stored, or None if nothing was. Raises Damaged."""
    return _read(folder / CURVES, UsageHistory)


def read_portrait(folder: Path) -> Snapshot | None:
    """What :func:`write` stored, or None if nothing was. Raises Damaged."""
    return _read(folder / PORTRAIT, Snapshot)


def _read(path: Path, kind: type[Kept]) -> Kept | None:
    try:
        arrays: dict[str, Any] = reading.arrays(path)
        declared = {field.name: str(field.type) for field in fields(kind)}
        if unknown := arrays.keys() - declared.keys():
            raise ValueError(f"it has {sorted(unknown)[0][:40]!r}")
        for name, type_ in declared.items():
            if name not in arrays and "None" not in type_:
                raise ValueError(f"it has no {name}")
            if type_ == "int":
                arrays[name] = _whole(arrays[name], name)
        kept = kind(**{name: arrays.get(name) for name in declared})  # type: ignore[arg-type]  # of types that are checked below
        _check_curves(kept) if isinstance(kept, UsageHistory) else _check_portrait(kept)
        return kept
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Damaged(f"{path}: damaged ({error}); delete it, and the page goes without it") from error


def _whole(value: np.ndarray, name: str) -> int:
    if value.shape != () or value.dtype.kind not in "iu" or not 0 < int(value) < LARGEST:
        raise ValueError(f"{name} is no count")
    return int(value)


def _check_curves(kept: UsageHistory) -> None:
    _expect(kept.shades, "shades", "u", 2)


def _check_portrait(kept: Snapshot) -> None:
    """Raises ValueError for arrays of other shapes or types than a page is drawn from."""
    _expect(kept.counts, "counts", "iu", 2)
    _expect(kept.chosen, "chosen", "iu", 1)
    _expect(kept.groups, "groups", "U", 1)
    _expect(kept.scores, "scores", "f", 1)
    for name in ("originals", "reconstructions", "decoded"):
        _expect(getattr(kept, name), name, "u", 4)
    for name in ("codes_at", "features_at", "explained"):
        _expect(getattr(kept, name), name, "f", 1 if name == "explained" else 2)
        if (plane := getattr(kept, name)) is not None and not (plane.shape[-1] == 2 and np.isfinite(plane).all()):
            raise ValueError(f"{name} are no finite places in a plane")
    _expect(kept.decoded_codes, "decoded_codes", "iu", 1)
    count = len(kept.chosen)
    images = kept.originals.shape
    if not (len(kept.groups) == len(kept.scores) == count == images[0] and images == kept.reconstructions.shape):
        raise ValueError(f"it has {count} images chosen, and {images[0]} of shape {images[1:]}")
    if kept.counts is not None and (0 in kept.counts.shape or (kept.counts < 0).any()):
        raise ValueError("counts are no counts")
    for shape in (images, None if kept.decoded is None else kept.decoded.shape):
        if shape is not None and not (shape[1] in (1, 3) and 0 < shape[2] == shape[3]):
            raise ValueError(f"{shape[1:]} is no shape of images")
    if kept.decoded is not None and not len(kept.decoded):
        raise ValueError("decoded is empty")


def _expect(value: np.ndarray | None, name: str, kinds: str, dimensions: int) -> None:
    if value is None:
        return
    if value.ndim != dimensions or value.dtype.kind not in kinds or (kinds == "u" and value.dtype.itemsize != 1):
        raise ValueError(f"{name} has the shape {value.shape} and the type {value.dtype}")


def copy(source: Path, target: Path) -> list[Path]:
    """Copy what a run keeps for pages from one folder to another; which files were left, being too large."""
    left = []
    for path in (source / name for name in FILES):
        try:
            content = reading.content(path)
        except FileNotFoundError:
            continue
        except (ValueError, StoreError):
            left.append(path)
            continue
        if len(content) > PUBLISHED:
            left.append(path)
        else:
            write_atomically(target / path.name, content)
    return left
