"""The BD-rate of two curves: the mean difference in rate at equal quality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqbench.errors import UsageError

FEWEST = 2  # points of a curve; with two, it is a straight line


class NoOverlap(UsageError):
    """Two curves reach no quality in common, so that nothing can be compared."""


@dataclass(frozen=True)
class BDRate:
    """The BD-rate of a curve against a reference, and what it rests on."""

    percent: float  # mean difference in rate; below 0, the curve needs fewer bits than the reference
    low: float  # of the qualities that both curves reach, as given
    high: float
    share: float  # of the reference's range of quality, in (0, 1]
    left_out: int  # points of the curve that another of its points beats


@dataclass(frozen=True)
class RateCurve:
    """The points of one row: rates in bits, and a quality, the higher the better.

    ``dropped`` counts points that were left out, see :func:`front`.
    """

    rates: NDArray[np.float64]  # (n,), rising
    qualities: NDArray[np.float64]  # (n,), rising
    dropped: int = 0


def front(rates: Sequence[float], qualities: Sequence[float]) -> RateCurve:
    """Return the points that no other point beats, from the lowest rate on.

    A point is left out where another needs no more bits and is at least as good, since the rate would be no function
    of quality; so is one of 0 bits, which has no logarithm. Where a codebook of twice the size is used no better, these
    are common.

    Raises:
        UsageError: Values that are not finite, or as many rates as qualities are not given.

    >>> front([2, 3, 4], [10, 9, 12]).rates.tolist()
    [2.0, 4.0]
    """
    points = np.array([rates, qualities], dtype=np.float64)  # raises ValueError for other lengths
    if not np.isfinite(points).all():
        raise UsageError("a curve of rates needs finite rates and qualities; leave the other points out")
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(points.T.tolist(), key=lambda each: (each[0], -each[1])):
        if rate > 0 and (not kept or quality > kept[-1][1]):
            kept.append((rate, quality))
    chosen = np.array(kept, dtype=np.float64).reshape(-1, 2)
    return RateCurve(chosen[:, 0], chosen[:, 1], len(points.T) - len(kept))


def bd_rate(reference: RateCurve, other: RateCurve) -> BDRate:
    """Return the BD-rate of ``other`` against ``reference``.

    100 · (2^m − 1) percent, with m the mean of log2 r_other(q) − log2 r_reference(q) over the qualities q that both
    curves reach: from the higher of their lowest ones to the lower of their highest ones. Each curve is log2 of the
    rate as a function of quality, interpolated by a piecewise cubic Hermite polynomial that is monotone (PCHIP,
    F. N. Fritsch, J. Butland, 1984) and integrated exactly; nothing is extrapolated.

    G. Bjøntegaard, Calculation of average PSNR differences between RD-curves, VCEG-M33, 2001, who fits one cubic
    polynomial through four points; the piecewise form is that of JCT-VC's and JVET's common test conditions.

    Raises:
        NoOverlap: The curves reach no quality in common.
        UsageError: A curve of fewer than two points.

    >>> round(bd_rate(front([100, 200, 400], [20, 24, 26]), front([50, 100, 200], [20, 24, 26])).percent, 6)
    -50.0
    """
    for name, curve in (("the reference", reference), ("the other curve", other)):
        if len(curve.rates) < FEWEST:
            raise UsageError(f"{name} has {len(curve.rates)} of the {FEWEST} points that a BD-rate needs at least")
    low = max(reference.qualities[0], other.qualities[0])
    high = min(reference.qualities[-1], other.qualities[-1])
    if not low < high:
        ranges = (f"{curve.qualities[0]:.4g} to {curve.qualities[-1]:.4g}" for curve in (other, reference))
        raise NoOverlap(f"the curves reach no quality in common ({' and '.join(ranges)}); give them other rates")
    difference = _mean_log_rate(other, low, high) - _mean_log_rate(reference, low, high)
    share = (high - low) / (reference.qualities[-1] - reference.qualities[0])
    return BDRate(100 * math.expm1(difference * math.log(2)), float(low), float(high), float(share), other.dropped)


def _mean_log_rate(curve: RateCurve, low: float, high: float) -> float:
    """Return the mean of log2 of the rate from quality ``low`` to ``high``."""
    from scipy.interpolate import PchipInterpolator  # slow to import, and only needed here

    interpolated = PchipInterpolator(curve.qualities, np.log2(curve.rates))
    return float(interpolated.integrate(low, high)) / (high - low)
