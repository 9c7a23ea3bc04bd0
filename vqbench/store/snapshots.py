"""Read and write what a page shows of a run: the use of its codes, and images.

``curves.npz`` is written when a training ends, ``portrait.npz`` when the model is evaluated, ``samples.npz`` when the
samples of a generator are. A page shows runs without them as well. Must not import torch, since pages are also written
where it is not installed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from vqbench.errors import Damaged, StoreError
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

USAGE_FILE, SNAPSHOT_FILE, SAMPLES_FILE = "curves.npz", "portrait.npz", "samples.npz"
FILES = (USAGE_FILE, SNAPSHOT_FILE, SAMPLES_FILE)
PUBLISHED = 250_000  # bytes of a published file at most; of images, as many as fit are published
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
    codes_per_image: np.ndarray | None = None  # (depth,) int64: codes of each depth, repeated ones once; else unknown


@dataclass(frozen=True)
class SampleSnapshot:
    """Samples of a generator, each with the nearest image that it was trained on."""

    samples: np.ndarray  # (N, C, S, S) uint8
    neighbours: np.ndarray  # (N, C, S, S) uint8, mirrored where the mirror image is nearer
    nearest: np.ndarray  # (N,) int64: positions of the neighbours in the training split


Shown = TypeVar("Shown", UsageHistory, Snapshot, SampleSnapshot)


def shades(counts: np.ndarray) -> np.ndarray:
    """Store counts as bytes, by their logarithm: to 5 %, and zero only as zero."""
    return np.round(SHADES * np.log2(1 + counts.astype(np.float64))).astype(np.uint8)


def write(folder: Path, content: UsageHistory | Snapshot | SampleSnapshot) -> None:
    """Write ``content`` to a run's folder, replacing an earlier file."""
    names = {UsageHistory: USAGE_FILE, Snapshot: SNAPSHOT_FILE, SampleSnapshot: SAMPLES_FILE}
    write_atomically(folder / names[type(content)], _encoded(content))


def _encoded(content: UsageHistory | Snapshot | SampleSnapshot) -> bytes:
    arrays = {field.name: getattr(content, field.name) for field in fields(content)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.asarray(array) for name, array in arrays.items() if array is not None})  # type: ignore[arg-type]  # none is called allow_pickle
    return buffer.getvalue()


def read_usage(folder: Path) -> UsageHistory | None:
    """Read the history of code usage, None if none exists. Raises Damaged."""
    return _read(folder / USAGE_FILE, UsageHistory)


def read_snapshot(folder: Path) -> Snapshot | None:
    """Read the snapshot, None if none exists. Raises Damaged."""
    return _read(folder / SNAPSHOT_FILE, Snapshot)


def read_samples(folder: Path) -> SampleSnapshot | None:
    """Read the samples of a generator, None if none are kept. Raises Damaged."""
    return _read(folder / SAMPLES_FILE, SampleSnapshot)


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
        elif isinstance(content, SampleSnapshot):
            _check_samples(content)
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


def _check_samples(content: SampleSnapshot) -> None:
    for name in ("samples", "neighbours"):
        _expect(getattr(content, name), name, "u", 4)
    _expect(content.nearest, "nearest", "iu", 1)
    shape = content.samples.shape
    if content.neighbours.shape != shape or len(content.nearest) != shape[0] or not _are_images(shape):
        raise ValueError(f"{shape} is not a shape of samples with neighbours")


def _are_images(shape: tuple[int, ...]) -> bool:
    return shape[1] in (1, 3) and 0 < shape[2] == shape[3]


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
    _expect(snapshot.codes_per_image, "codes_per_image", "iu", 1)
    if (cells := snapshot.codes_per_image) is not None and (
        snapshot.counts is None or len(cells) != len(snapshot.counts) or not (cells > 0).all()
    ):
        raise ValueError("codes_per_image does not fit the counts")
    count = len(snapshot.chosen)
    images = snapshot.originals.shape
    if not (
        len(snapshot.groups) == len(snapshot.scores) == count == images[0] and images == snapshot.reconstructions.shape
    ):
        raise ValueError(f"it has {count} images chosen, and {images[0]} of shape {images[1:]}")
    if snapshot.counts is not None and (0 in snapshot.counts.shape or (snapshot.counts < 0).any()):
        raise ValueError("counts are negative or empty")
    for shape in (images, None if snapshot.decoded is None else snapshot.decoded.shape):
        if shape is not None and not _are_images(shape):
            raise ValueError(f"{shape[1:]} is not a shape of images")
    if snapshot.decoded is not None and not len(snapshot.decoded):
        raise ValueError("decoded is empty")


def _expect(value: np.ndarray | None, name: str, kinds: str, dimensions: int) -> None:
    if value is None:
        return
    if value.ndim != dimensions or value.dtype.kind not in kinds or (kinds == "u" and value.dtype.itemsize != 1):
        raise ValueError(f"{name} has the shape {value.shape} and the type {value.dtype}")


def copy(source: Path, target: Path) -> list[Path]:
    """Copy a run's files for pages; return those that are too large instead.

    Of images, as many are copied as fit.
    """
    skipped = []
    for path in (source / name for name in FILES):
        try:
            content = stored_files.content(path)
            if len(content) > PUBLISHED:
                content = _fitting(path) or content
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


def _fitting(path: Path) -> bytes | None:
    """Return the file with as many images as fit, or None. Raises Damaged."""
    content: Snapshot | SampleSnapshot | None
    if path.name == SNAPSHOT_FILE:
        content = read_snapshot(path.parent)
    else:
        content = read_samples(path.parent) if path.name == SAMPLES_FILE else None
    smaller = map(_encoded, _with_fewer(content)) if content else ()
    return next((encoded for encoded in smaller if len(encoded) <= PUBLISHED), None)


def _with_fewer(content: Snapshot | SampleSnapshot) -> Iterator[Snapshot | SampleSnapshot]:
    """Yield copies with ever fewer images; the first common ones stay."""
    if isinstance(content, SampleSnapshot):
        for count in range(len(content.samples) - 1, 0, -1):
            yield SampleSnapshot(content.samples[:count], content.neighbours[:count], content.nearest[:count])
        return
    common, extremes = np.flatnonzero(content.groups == "same"), np.flatnonzero(content.groups != "same")
    for count in range(len(common) - 1, -1, -1):
        yield _only(content, np.concatenate([common[:count], extremes]) if count else common[:0])


def _only(content: Snapshot, at: np.ndarray) -> Snapshot:
    """Return ``content`` with the images at these positions alone."""
    names = ("chosen", "groups", "scores", "originals", "reconstructions")
    return replace(content, **{name: getattr(content, name)[at] for name in names})
