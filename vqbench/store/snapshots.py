"""Read and write what a page shows of a run: the use of its codes, and images.

``curves.npz`` is written when a training ends, ``portrait.npz`` when the model is evaluated. Both are small, and a page
shows runs without them as well. Must not import torch, since pages are also written where it is not installed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vqbench.errors import Damaged, StoreError
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

USAGE_FILE, SNAPSHOT_FILE = "curves.npz", "portrait.npz"
FILES = (USAGE_FILE, SNAPSHOT_FILE)
PUBLISHED = 250_000  # bytes of a published file at most
LARGEST = 2**31  # more than any number of positions or codes
SHADES = 8  # per doubling: a count n is stored as round(8 · log2(1 + n)), in one byte up to 2^31


@dataclass(frozen=True)
class UsageHistory:
    """How often each code was used in each epoch of a training."""

    shades: np.ndarray  # (epochs, lines) uint8, see :func:`shades`
    depth: int  # codes per position; lines are those of the first depth, then those of the second
    merged: int  # neighbouring codes that share a line, which has the count of the most used one


@dataclass(frozen=True)
class Snapshot:
    """Codes and images of the selected model, from the test split."""

    positions: int  # of the code map
    counts: np.ndarray | None  # (depth, K) int64: how often each code occurs; None without a codebook
    chosen: np.ndarray  # (P,) int64: positions of the images in the test split
    groups: np.ndarray  # (P,) str: "same", or "worst", "median", "best" by LPIPS
    scores: np.ndarray  # (P,) float32: LPIPS, NaN where it was not measured
    originals: np.ndarray  # (P, C, S, S) uint8
    reconstructions: np.ndarray  # (P, C, S, S) uint8
    codes_at: np.ndarray | None  # (K, 2) float32: codes in the plane of the features' two main directions
    features_at: np.ndarray | None  # (F, 2) float32: some features
    explained: np.ndarray | None  # (2,) float32: shares of the features' variance along the two directions
    decoded: np.ndarray | None  # (k, C, s, s) uint8: codes decoded alone, the most used first
    decoded_codes: np.ndarray | None  # (k,) int64: these codes


Shown = TypeVar("Shown", UsageHistory, Snapshot)


def shades(counts: np.ndarray) -> np.ndarray:
    """Store counts as bytes, by their logarithm: to 5 %, and zero only as zero."""
    return np.round(SHADES * np.log2(1 + counts.astype(np.float64))).astype(np.uint8)


def write(folder: Path, content: UsageHistory | Snapshot) -> None:
    """Write ``content`` to a run's folder, replacing an earlier file."""
    arrays = {field.name: getattr(content, field.name) for field in fields(content)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]  # none is called allow_pickle
    name = USAGE_FILE if isinstance(content, UsageHistory) else SNAPSHOT_FILE
    write_atomically(folder / name, buffer.getvalue())


def read_usage(folder: Path) -> UsageHistory | None:
    """Read the history of code usage, None if none exists. Raises Damaged."""
    return _read(folder / USAGE_FILE, UsageHistory)


def read_snapshot(folder: Path) -> Snapshot | None:
    """Read the snapshot, None if none exists. Raises Damaged."""
    return _read(folder / SNAPSHOT_FILE, Snapshot)


def _read(path: Path, kind: type[Shown]) -> Shown | None:
    try:
        arrays: dict[str, Any] = stored_files.arrays(path)
        declared = {field.name: str(field.type) for field in fields(kind)}
        if unknown := arrays.keys() - declared.keys():
            raise ValueError(f"it has {sorted(unknown)[0][:40]!r}")
        for name, type_ in declared.items():
            if name not in arrays and "None" not in type_:
                raise ValueError(f"it has no {name}")
            if type_ == "int":
                arrays[name] = _whole(arrays[name], name)
        content = kind(**{name: arrays.get(name) for name in declared})  # type: ignore[arg-type]  # of types that are checked below
        if isinstance(content, UsageHistory):
            _check_usage(content)
        else:
            _check_snapshot(content)
        return content
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Damaged(f"{path}: damaged ({error}); delete it, and the page is written without it") from error


def _whole(value: np.ndarray, name: str) -> int:
    if value.shape != () or value.dtype.kind not in "iu" or not 0 < int(value) < LARGEST:
        raise ValueError(f"{name} is not a count")
    return int(value)


def _check_usage(history: UsageHistory) -> None:
    _expect(history.shades, "shades", "u", 2)


def _check_snapshot(snapshot: Snapshot) -> None:
    """Raise ValueError for shapes or types that a page cannot be drawn from."""
    _expect(snapshot.counts, "counts", "iu", 2)
    _expect(snapshot.chosen, "chosen", "iu", 1)
    _expect(snapshot.groups, "groups", "U", 1)
    _expect(snapshot.scores, "scores", "f", 1)
    for name in ("originals", "reconstructions", "decoded"):
        _expect(getattr(snapshot, name), name, "u", 4)
    for name in ("codes_at", "features_at", "explained"):
        _expect(getattr(snapshot, name), name, "f", 1 if name == "explained" else 2)
        if (plane := getattr(snapshot, name)) is not None and not (plane.shape[-1] == 2 and np.isfinite(plane).all()):
            raise ValueError(f"{name} are not finite positions in a plane")
    _expect(snapshot.decoded_codes, "decoded_codes", "iu", 1)
    count = len(snapshot.chosen)
    images = snapshot.originals.shape
    if not (
        len(snapshot.groups) == len(snapshot.scores) == count == images[0] and images == snapshot.reconstructions.shape
    ):
        raise ValueError(f"it has {count} images chosen, and {images[0]} of shape {images[1:]}")
    if snapshot.counts is not None and (0 in snapshot.counts.shape or (snapshot.counts < 0).any()):
        raise ValueError("counts are negative or empty")
    for shape in (images, None if snapshot.decoded is None else snapshot.decoded.shape):
        if shape is not None and not (shape[1] in (1, 3) and 0 < shape[2] == shape[3]):
            raise ValueError(f"{shape[1:]} is not a shape of images")
    if snapshot.decoded is not None and not len(snapshot.decoded):
        raise ValueError("decoded is empty")


def _expect(value: np.ndarray | None, name: str, kinds: str, dimensions: int) -> None:
    if value is None:
        return
    if value.ndim != dimensions or value.dtype.kind not in kinds or (kinds == "u" and value.dtype.itemsize != 1):
        raise ValueError(f"{name} has the shape {value.shape} and the type {value.dtype}")


def copy(source: Path, target: Path) -> list[Path]:
    """Copy a run's files for pages; return those that are too large instead."""
    skipped = []
    for path in (source / name for name in FILES):
        try:
            content = stored_files.content(path)
        except FileNotFoundError:
            continue
        except (ValueError, StoreError):
            skipped.append(path)
            continue
        if len(content) > PUBLISHED:
            skipped.append(path)
        else:
            write_atomically(target / path.name, content)
    return skipped
