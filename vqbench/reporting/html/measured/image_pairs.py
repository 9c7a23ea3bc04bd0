"""Choose the worst, median and best of measured pairs, and draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vqbench.reporting.html.images import HEAT
from vqbench.reporting.html.png import PngImage, magnification, png_image

if TYPE_CHECKING:
    from pandas import DataFrame

PREFERRED = ("lpips", "ssim", "psnr", "l1")  # metrics that images are ranked by, the first that was measured
FEW = 4  # images in a group
BRIGHT = 0.999  # share of the errors below the brightest colour: few outliers would leave the rest black
SIDE = 256  # pixels of a larger side, from which on images are reduced


@dataclass(frozen=True)
class Ranking:
    """Which images are shown, by which metric, with their values."""

    protocol: str
    metric: str  # its label
    groups: Mapping[str, Sequence[str]]  # worst, median, best -> names
    values: Mapping[str, str]  # name -> its values of all metrics, in words


@dataclass(frozen=True)
class ShownPair:
    """One pair on the page."""

    name: str
    values: str
    original: PngImage
    reconstruction: PngImage
    error: PngImage
    reduced: int  # by how much images are reduced for the page; 1: not


@dataclass(frozen=True)
class PairGroup:
    """Some pairs under one title."""

    title: str
    pairs: Sequence[ShownPair]


def ranking(values: DataFrame, per_image: DataFrame, metrics: Sequence[str]) -> Ranking:
    """Choose the worst, median and best images, none twice.

    By the first of ``PREFERRED`` that was measured, under ``clean`` if that was.
    """
    protocols = list(dict.fromkeys(per_image.protocol))
    under = "clean" if "clean" in protocols else protocols[0]
    metric = next((name for name in PREFERRED if name in metrics), metrics[0])
    frame = per_image[per_image.protocol == under].reset_index(drop=True)
    facts = values[values.protocol == under].set_index("metric")
    sign = 1 if facts.higher_is_better[metric] else -1
    order = np.argsort(sign * frame[metric].to_numpy(float), kind="stable")  # the worst first
    few = min(FEW, max(1, len(order) // 3))
    middle = max(few, (len(order) - few) // 2)
    chosen = {"worst": order[:few], "median": order[middle : middle + few], "best": order[middle + few :][::-1][:few]}
    groups = {title: [str(frame.name[place]) for place in places] for title, places in chosen.items() if len(places)}
    texts = {
        str(frame.name[place]): ", ".join(_value(facts, name, frame[name][place]) for name in metrics)
        for places in chosen.values()
        for place in places
    }
    return Ranking(under, str(facts.label[metric]), groups, texts)


def pair_groups(ranked: Ranking, pairs: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> tuple[list[PairGroup], int]:
    """Draw the chosen pairs.

    Returned with the error, in levels, from which on the maps have their brightest colour.
    """
    errors = {name: np.abs(a.astype(np.int16) - b).max(0) for name, (a, b) in pairs.items()}  # (H, W)
    together = np.concatenate([each.ravel() for each in errors.values()])
    largest = max(1, int(np.quantile(together, BRIGHT)))
    groups = [
        PairGroup(title, [_shown(name, ranked.values[name], *pairs[name], errors[name], largest) for name in names])
        for title, names in ranked.groups.items()
    ]
    return groups, largest


def _shown(
    name: str, values: str, original: np.ndarray, reconstruction: np.ndarray, error: np.ndarray, largest: int
) -> ShownPair:
    side = max(error.shape)
    by = -(-side // SIDE)
    times = magnification(side // by)
    brightness = (error.clip(max=largest) * 255 // largest).astype(np.uint8)
    return ShownPair(
        name,
        values,
        png_image(_drawable(original, by), f"original {name}", times),
        png_image(_drawable(reconstruction, by), f"reconstruction of {name}", times),
        png_image(brightness[::by, ::by], f"absolute error of {name}", times, HEAT),
        by,
    )


def _drawable(levels: np.ndarray, by: int) -> np.ndarray:
    """Reduce (C, H, W) uint8 by whole pixels: (H, W), or (H, W, 3)."""
    small = levels[:, ::by, ::by].transpose(1, 2, 0)
    return small[..., 0] if small.shape[-1] == 1 else small


def _value(facts: DataFrame, metric: str, value: float) -> str:
    unit = f" {facts.unit[metric]}" if facts.unit[metric] else ""
    return f"{facts.label[metric]} {value:.{facts.digits[metric]}f}{unit}"
