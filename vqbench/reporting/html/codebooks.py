"""Draw codebooks: usage over epochs, histogram of use, codes and features in 2-D."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqbench.errors import counted
from vqbench.reporting.html.png import PngImage, png_image, strip
from vqbench.reporting.html.suite_view import RunView

EPOCHS = 120  # columns of a strip at most; more epochs are subsampled evenly
LINES = 512  # lines of a strip at most; beyond, codes of similar use share a line
LEVELS = 16  # shades of a strip
SIDE = 240  # pixels of a plane
# One blue, from transparent for unused codes to opaque: on a light and on a dark page, more use is more contrast.
SHADES = np.stack([*(np.full(LEVELS, level) for level in (31, 111, 235)), np.linspace(40, 255, LEVELS)], 1)
SHADES[0, 3] = 0
GREY, BLUE, RED = (128, 128, 128, 110), (31, 111, 235, 230), (217, 72, 15, 235)


@dataclass(frozen=True)
class CodebookView:
    """The figures of one run's codebook."""

    view: RunView
    strip: PngImage | None
    strip_note: str
    epochs: Sequence[int]  # below the strip, from its left to its right end
    histogram: str  # the path of its line, in a box of 256 x 64
    histogram_text: str
    used: int
    codes: int
    plane: PngImage | None
    explained: float | None
    decoded: PngImage | None
    decoded_count: int
    decoded_used: int  # the first of them, above a line


def codebook_views(views: Sequence[RunView], room: int) -> list[CodebookView]:
    """Draw the codebooks of all runs that have data of them.

    ``room``: bytes that one run may take.
    """
    shown = [view for view in views if view.curves or (view.portrait and view.portrait.counts is not None)]
    strongest = max((int(view.curves.shades.max(initial=0)) for view in shown if view.curves), default=0)
    return [_codebook_view(view, room, strongest) for view in shown]


def _codebook_view(view: RunView, room: int, strongest: int) -> CodebookView:
    drawn, note = _strip(view, strongest) if view.curves and len(view.curves.shades) else (None, "")
    epochs = len(view.curves.shades) if view.curves else 0
    portrait = view.portrait
    counts = portrait.counts if portrait else None
    used, codes = (int((counts > 0).sum()), counts.size) if counts is not None else (0, 0)
    path, text = _histogram(counts) if counts is not None else ("", "")
    plane = _plane(view)
    decoded, number, in_use = None, 0, 0
    if portrait and portrait.decoded is not None and portrait.decoded_codes is not None:
        each = -(-4 * portrait.decoded[0].size // 3)  # in base64
        left = room - sum(part.size for part in (drawn, plane) if part)
        number = min(len(portrait.decoded), max(32, left // each))
        used_here = np.ones(number, bool) if counts is None else counts[0, portrait.decoded_codes[:number]] > 0
        in_use = int(used_here.sum())
        order = np.argsort(~used_here, kind="stable")
        alternative = f"{view.name}: {counted(number, 'code')} decoded alone, {in_use} of them used"
        decoded = png_image(_sheet(portrait.decoded[:number][order], in_use), alternative, 2)
    explained = None if portrait is None or portrait.explained is None else 100 * float(portrait.explained.sum())
    return CodebookView(
        view, drawn, note, _ticks(epochs), path, text, used, codes, plane, explained, decoded, number, in_use
    )


def _ticks(epochs: int) -> list[int]:
    """Return the first and the last epoch, of a strip's axis."""
    return sorted({1, epochs} - {0})


def _strip(view: RunView, strongest: int) -> tuple[PngImage, str]:
    """Draw the use of codes: epochs from left to right, one code per line.

    Codes used most at the end come first; stronger means more often, up to ``strongest`` of all runs.
    """
    assert view.curves is not None
    shades = view.curves.shades  # (epochs, lines)
    epochs, lines = shades.shape
    order = np.argsort(-shades[-1].astype(np.int64), kind="stable")
    chosen = np.unique(np.linspace(0, epochs - 1, min(epochs, EPOCHS)).round().astype(int))
    image = shades[chosen][:, order].T.astype(np.float64)  # (lines, epochs)
    share = -(-lines // LINES)
    if share > 1:
        padded = np.zeros((-(-lines // share) * share, image.shape[1]))
        padded[:lines] = image
        image = padded.reshape(-1, share, image.shape[1]).max(1)
    levels = np.where(image > 0, 1 + np.floor((LEVELS - 2) * image / max(1, strongest)), 0).astype(np.uint8)
    text = f"{view.name}: use of {counted(lines * view.curves.merged, 'code')} over {counted(epochs, 'epoch')}"
    note = counted(epochs, "epoch") if len(chosen) == epochs else f"{len(chosen)} of {epochs} epochs"
    if share * view.curves.merged > 1:
        note += f", {counted(share * view.curves.merged, 'code')} per line"
    return png_image(levels, text, 1, SHADES), note


def _histogram(counts: np.ndarray) -> tuple[str, str]:
    """Return the path of :func:`usage_path`, and its text."""
    ordered = np.sort(counts.ravel())[::-1]
    used = f"{(ordered > 0).sum():,} of {len(ordered):,} codes are used on the test split"
    text = f"{used}, the most frequent {ordered[0]:,} times"
    return usage_path(counts), text


def usage_path(counts: np.ndarray) -> str:
    """Return an SVG path of codes by falling use, log scale, in a box of 256 x 64."""
    ordered = np.sort(counts.ravel())[::-1]
    at = np.unique(np.linspace(0, len(ordered) - 1, min(len(ordered), 256)).round().astype(int))
    heights = np.log1p(ordered[at]) / np.log1p(max(1, ordered[0]))
    step = 256 / len(at)
    points = "".join(f"V{64 - 62 * h:.1f}H{step * (i + 1):.1f}" for i, h in enumerate(heights))
    return f"M0,64{points}V64Z"


def _plane(view: RunView) -> PngImage | None:
    """Draw features and codes in the two main directions of the features.

    Features are small grey dots, used codes blue squares, unused codes red rings, on top and wider, since many coincide
    with others.
    """
    portrait = view.portrait
    if portrait is None or portrait.features_at is None:
        return None
    from PIL import Image, ImageDraw

    features, codes = portrait.features_at, portrait.codes_at
    inside = features if codes is None else np.concatenate([features, codes])
    low, high = np.quantile(inside, [0.01, 0.99], axis=0)
    middle, reach = (low + high) / 2, float(max((high - low).max() / 2, 1e-12)) * 1.15
    twice = 2 * SIDE
    canvas = Image.new("RGBA", (twice, twice), (128, 128, 128, 0))
    draw = ImageDraw.Draw(canvas)

    def marks(shape: Callable[..., None], points: np.ndarray, radius: float, **look: Any) -> None:
        at = np.clip((points - middle) / reach, -0.98, 0.98)  # points further out are drawn at the edge
        for x, y in ((at * (1, -1) + 1) * SIDE).tolist():
            shape((x - radius, y - radius, x + radius, y + radius), **look)

    marks(draw.ellipse, features, 3, fill=GREY)
    if codes is not None and portrait.counts is not None:
        used = portrait.counts.any(0)
        marks(draw.rectangle, codes[used], 5, fill=BLUE)
        marks(draw.ellipse, codes[~used], 8, outline=RED, width=3)
    small = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX))
    number = "" if codes is None else f" and {counted(len(codes), 'code')}"
    if codes is not None and portrait.counts is not None:
        number += f", {int((~portrait.counts.any(0)).sum()):,} of them unused,"
    return png_image(small, f"{view.name}: {len(features)} features{number} in two dimensions")


def _sheet(decoded: np.ndarray, used: int) -> np.ndarray:
    """Lay codes decoded alone (k, C, s, s), most used first, out in rows of 32.

    Below the first ``used`` codes stands a dashed line.
    """
    side = decoded.shape[-1]
    width = min(32, len(decoded)) * (side + 1) - 1
    channels = () if decoded.shape[1] == 1 else (3,)
    line = np.where(np.arange(width) // 6 % 2, 255, 0).astype(np.uint8).reshape(1, width, *[1] * len(channels))
    divider = np.full((5, width, *channels), 127, np.uint8)
    divider[1:4] = np.broadcast_to(line, (3, width, *channels))
    rows: list[np.ndarray] = []
    for part in (decoded[:used], decoded[used:]):
        if rows and len(part):
            rows.append(divider)
        for start in range(0, len(part), 32):
            row = strip(part[start : start + 32], 1)
            margin = [(0, 1), (0, width - row.shape[1]), *[(0, 0)] * len(channels)]
            rows.append(np.pad(row, margin, constant_values=127))
    return np.concatenate(rows)[:-1]
