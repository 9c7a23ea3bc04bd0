"""Draw reconstructions: common images, and each row's worst, median and best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vqbench.reporting.html.png import PngImage, magnification, png_image, strip
from vqbench.reporting.html.suite_view import RunView

SCORE = "LPIPS"  # of each image in a snapshot, see vqbench.store.snapshots
SETS = (
    ("same", "the same images"),
    ("worst", f"worst by {SCORE}"),
    ("median", f"median by {SCORE}"),
    ("best", f"best by {SCORE}"),
)
THUMBNAILS, THUMBNAIL_SIDE = 6, 32  # images per row of the atlas, and their pixels at most
HEAT = np.stack([np.arange(256), np.clip(np.arange(256) * 2 - 256, 0, 255), np.zeros(256)], 1)  # black, red, yellow


@dataclass(frozen=True)
class RunImages:
    """One run's images of one set."""

    view: RunView
    originals: PngImage | None  # None where they are shown once, above all rows
    reconstructions: PngImage
    errors: PngImage
    scores: str
    chosen: Sequence[int] = ()  # positions in the test split

    @property
    def size(self) -> int:
        """Bytes in the page."""
        return sum(each.size for each in (self.originals, self.reconstructions, self.errors) if each)


@dataclass(frozen=True)
class ImageSet:
    """One selection of images for all runs of a data set."""

    name: str
    title: str
    originals: PngImage | None  # of the common images
    rows: Sequence[RunImages]
    imageless_runs: Sequence[str]  # runs that keep no images
    hidden: int  # images per row that would make the page too large


@dataclass(frozen=True)
class SampleSheet:
    """Samples of one generator, above the nearest training image of each."""

    view: RunView
    samples: PngImage
    nearest: PngImage
    shown: int
    hidden: int  # that would make the page too large


def thumbnails(view: RunView, originals: bool = False) -> PngImage | None:
    """Draw the first common images of a run side by side; None where it keeps none.

    ``originals``: those of the test split instead of the reconstructions.
    """
    if view.portrait is None:
        return None
    at = np.flatnonzero(view.portrait.groups == "same")[:THUMBNAILS]
    if not len(at):
        return None
    images = _reduced((view.portrait.originals if originals else view.portrait.reconstructions)[at])
    which = ", ".join(map(str, view.portrait.chosen[at]))
    return png_image(strip(images), f"{'originals' if originals else view.label}: test images {which}")


def _reduced(images: np.ndarray) -> np.ndarray:
    """Reduce (P, C, S, S) images to thumbnails, by means over squares of pixels."""
    side = images.shape[-1]
    step = -(-side // THUMBNAIL_SIDE)
    if step == 1:
        return images
    kept = side // step * step
    blocks = images[..., :kept, :kept].reshape(*images.shape[:2], kept // step, step, kept // step, step)
    means: np.ndarray = blocks.mean((3, 5)).round().astype(np.uint8)
    return means


def sample_thumbnails(view: RunView) -> PngImage | None:
    """Draw the first samples of a generator side by side; None for other runs."""
    if view.samples is None or not len(view.samples.samples):
        return None
    return png_image(strip(_reduced(view.samples.samples[:THUMBNAILS])), f"{view.label}: samples")


def row_thumbnails(views: Sequence[RunView]) -> PngImage | None:
    """Draw the samples of a row's generator, or else some reconstructions."""
    sampled = (shown for view in views if (shown := sample_thumbnails(view)))
    return next(sampled, None) or next((shown for view in views if (shown := thumbnails(view))), None)


def sample_sheets(views: Sequence[RunView], bytes_per_run: int) -> list[SampleSheet]:
    """Draw the samples of every generator, and below each its nearest training image.

    ``bytes_per_run``: bytes that the samples of one run may take.
    """
    sheets = []
    for view in views:
        if view.samples is not None and len(view.samples.samples):
            sheet = _sample_sheet(view, len(view.samples.samples))
            few = max(1, sheet.shown * bytes_per_run // (sheet.samples.size + sheet.nearest.size))
            sheets.append(sheet if few >= sheet.shown else _sample_sheet(view, few))
    return sheets


def _sample_sheet(view: RunView, few: int) -> SampleSheet:
    assert view.samples is not None
    samples, nearest = view.samples.samples[:few], view.samples.nearest[:few]
    times = magnification(samples.shape[-1])
    which = ", ".join(map(str, nearest))
    return SampleSheet(
        view,
        png_image(strip(samples, 1), f"{view.name}: samples", times),
        png_image(strip(view.samples.neighbours[:few], 1), f"their nearest training images: {which}", times),
        few,
        len(view.samples.samples) - few,
    )


def sets(views: Sequence[RunView], bytes_per_run: int) -> list[ImageSet]:
    """Draw the sets of images that some run keeps.

    ``bytes_per_run``: bytes that the images of one run may take.
    """
    kept = [view for view in views if view.portrait is not None and len(view.portrait.chosen)]
    shares = {"same": 5}  # of eight; the others have few images
    return (
        [_set(name, title, kept, views, bytes_per_run * shares.get(name, 1) // 8) for name, title in SETS]
        if kept
        else []
    )


def _set(name: str, title: str, kept: Sequence[RunView], views: Sequence[RunView], bytes_per_run: int) -> ImageSet:
    rows = _rows(kept, name)
    if not rows:
        return ImageSet(name, title, None, [], [view.name for view in kept], 0)
    most = max(len(row.chosen) for row in rows)
    fitting = [bytes_per_run * len(row.chosen) // row.size for row in rows]
    few = max(1, min([most, *fitting]))  # the same number in every row, so that columns are the same images
    if few < most:
        rows = _rows(kept, name, few)
    originals = _run_images(rows[0].view, _positions(rows[0].view, name)[:few]).originals if name == "same" else None
    imageless_runs = [view.name for view in views if view.record and view not in kept and not view.second_stage]
    return ImageSet(name, title, originals, rows, imageless_runs, most - few)


def _rows(kept: Sequence[RunView], name: str, few: int | None = None) -> list[RunImages]:
    """Draw the first ``few`` images of one set, of every run that keeps some.

    Without ``few``, all are drawn. Common images have no originals of their own.
    """
    rows = [_run_images(view, at[:few]) for view in kept if len(at := _positions(view, name))]
    if name != "same" or not rows:
        return rows
    common = rows[0].originals
    return [replace(row, originals=None if row.originals == common else row.originals) for row in rows]


def _positions(view: RunView, name: str) -> np.ndarray:
    """Return the positions of a set among the images that a run keeps."""
    return np.flatnonzero(view.portrait.groups == name) if view.portrait is not None else np.zeros(0, np.int64)


def _run_images(view: RunView, at: np.ndarray) -> RunImages:
    assert view.portrait is not None
    chosen = view.portrait.chosen[at]
    before, after = view.portrait.originals[at], view.portrait.reconstructions[at]
    which = ", ".join(map(str, chosen))
    times = magnification(before.shape[-1])
    error = np.abs(before.astype(np.int16) - after).max(1).astype(np.uint8)  # (P, S, S), the largest of the channels
    scores = view.portrait.scores[at]
    return RunImages(
        view,
        png_image(strip(before, 1), f"originals: test images {which}", times),
        png_image(strip(after, 1), f"{view.name}: reconstructions of test images {which}", times),
        png_image(
            strip(error[:, None], 1, between=0),
            f"{view.name}: absolute errors of test images {which}, black for none, yellow for 255",
            times,
            HEAT,
        ),
        "" if np.isnan(scores).all() else f"{SCORE} {', '.join(f'{score:.3f}' for score in scores)}",
        chosen.tolist(),
    )
