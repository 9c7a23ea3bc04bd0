"""The range of float images: declared, or detected and stated."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import UsageError, nearest
from vqbench.images import to_unit

if TYPE_CHECKING:
    from vqbench.measuring.inputs.array_input import ArrayFile


class ValueRange(Enum):
    """What black and white are in an array of floats."""

    UNIT = "0..1"
    SIGNED = "-1..1"
    LEVELS = "0..255"

    @classmethod
    def parse(cls, text: str, option: str = "--range") -> ValueRange:
        """Return the range that ``text`` names, the value of ``option``.

        Raises UsageError.
        """
        known = {each.value: each for each in cls}
        if text not in known:
            raise UsageError(f"{option} {text!r}: {nearest(text, known)}")
        return known[text]

    @property
    def ends(self) -> tuple[float, float]:
        """Black and white."""
        low, _, high = self.value.partition("..")
        return float(low), float(high)


@dataclass(frozen=True)
class FoundRange:
    """Least and greatest value of an array, and the range it is read as."""

    low: float
    high: float
    range: ValueRange
    beyond: int  # values outside of the range, which are clipped
    declared: bool

    def sentence(self, path: str) -> str:
        """Say how the array is read, and what was clipped."""
        how = "declared" if self.declared else "detected; --range declares another"
        clipped = f"; {self.beyond:,} values beyond are clipped" if self.beyond else ""
        return f"{path}: values from {self.low:.4g} to {self.high:.4g} are read as {self.range.value} ({how}){clipped}."


def found_range(images: ArrayFile, declared: ValueRange | None) -> FoundRange:
    """Read all values of a float array and find its range.

    Unless ``declared``: below -0.5 means [-1, 1], above 1.5 means [0, 255], else [0, 1].

    Raises:
        UsageError: NaN or infinity; values far beyond the range that was detected.
    """
    low, high = np.inf, -np.inf
    outside = dict.fromkeys(ValueRange, 0)
    for block in images.blocks():
        low, high = min(low, float(block.min())), max(high, float(block.max()))
        if not np.isfinite((block.min(), block.max())).all():
            raise UsageError(f"{images.path}: contains NaN or infinity; a model has diverged, or the file is damaged")
        for each in ValueRange:
            black, white = each.ends
            if block.min() < black or block.max() > white:
                outside[each] += int(((block < black) | (block > white)).sum())
    found = declared or _detected(low, high)
    black, white = found.ends
    if declared is None and (low < 2 * black - white or high > 2 * white - black):
        raise UsageError(
            f"{images.path}: values from {low:.4g} to {high:.4g} are of no usual range; declare it with --range, or "
            "convert them to [0, 1]"
        )
    return FoundRange(low, high, found, outside[found], declared is not None)


def _detected(low: float, high: float) -> ValueRange:
    if low < -0.5:
        return ValueRange.SIGNED
    return ValueRange.LEVELS if high > 1.5 else ValueRange.UNIT


def as_unit(images: np.ndarray, scale: ValueRange | None) -> Tensor:
    """Convert images to a model's range, [-1, 1]: uint8 if ``scale`` is None."""
    x = torch.from_numpy(images)
    if scale is None:
        return to_unit(x)
    if scale is ValueRange.SIGNED:
        return x.float().clamp(-1, 1)
    low, high = scale.ends
    return (x.float().clamp(low, high) / (high - low) - 0.5) / 0.5
