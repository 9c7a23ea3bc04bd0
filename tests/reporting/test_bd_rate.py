"""The BD-rate of two curves: closed forms, an independent computation, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from vqbench.errors import UsageError
from vqbench.reporting.derived.bd_rate import NoOverlap, bd_rate, front

RATES, QUALITIES = [88.0, 131.0, 240.0, 391.0, 470.0], [17.1, 18.0, 19.9, 20.3, 21.2]  # a curve as ours are


def pchip(x: NDArray[np.float64], y: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Interpolate by monotone cubic Hermite pieces: the slopes of Fritsch and Butland (1984), in plain NumPy."""
    h, d = np.diff(x), np.diff(y) / np.diff(x)
    slopes = np.zeros(len(x))
    for i in range(1, len(x) - 1):
        if d[i - 1] * d[i] > 0:
            a, b = 2 * h[i] + h[i - 1], h[i] + 2 * h[i - 1]
            slopes[i] = (a + b) / (a / d[i - 1] + b / d[i])
    for end, near, far in ((0, 0, 1), (-1, -1, -2)):
        slope = ((2 * h[near] + h[far]) * d[near] - h[near] * d[far]) / (h[near] + h[far])
        if slope * d[near] <= 0:
            slope = 0
        elif d[near] * d[far] <= 0 and abs(slope) > 3 * abs(d[near]):
            slope = 3 * d[near]
        slopes[end] = slope
    i = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(h) - 1)
    t = (at - x[i]) / h[i]
    here = (1 + 2 * t) * (1 - t) ** 2 * y[i] + t * (1 - t) ** 2 * h[i] * slopes[i]
    return here + t**2 * (3 - 2 * t) * y[i + 1] + t**2 * (t - 1) * h[i] * slopes[i + 1]


def test_a_share_of_the_bits_is_that_share() -> None:
    """A curve at 80 % of the bits at every quality has a BD-rate of -20 %, and the reverse one of +25 %."""
    ours, theirs = front([0.8 * rate for rate in RATES], QUALITIES), front(RATES, QUALITIES)
    assert bd_rate(theirs, ours).percent == pytest.approx(-20, rel=1e-9)
    assert bd_rate(ours, theirs).percent == pytest.approx(25, rel=1e-9)
    assert bd_rate(theirs, theirs).percent == pytest.approx(0, abs=1e-9)


def test_straight_lines_have_a_closed_form() -> None:
    """With log2 r = 1 + 0.5 q and 2 + 0.25 q over q from 4 to 8, the mean difference is 1 - 0.25 * 6 = -0.5 bits."""
    reference = front([2 ** (1 + 0.5 * q) for q in (2, 5, 8)], [2, 5, 8])
    other = front([2 ** (2 + 0.25 * q) for q in (4, 7, 12)], [4, 7, 12])
    found = bd_rate(reference, other)
    assert found.percent == pytest.approx(100 * (2**-0.5 - 1), rel=1e-9)
    assert (found.low, found.high) == (4, 8)
    assert found.share == pytest.approx(4 / 6)


def test_curves_equal_an_independent_computation() -> None:
    """Any two curves agree with PCHIP in plain NumPy, integrated over the common qualities by a fine sum."""
    draw = np.random.default_rng(0)
    for _ in range(20):
        curves = [front(np.cumsum(draw.uniform(20, 90, 5)), np.cumsum(draw.uniform(0.2, 2, 5))) for _ in range(2)]
        low, high = max(c.qualities[0] for c in curves), min(c.qualities[-1] for c in curves)
        if low >= high:
            continue
        at = np.linspace(low, high, 200_001)
        values = [pchip(c.qualities, np.log2(c.rates), at) for c in curves]
        reference, other = ((v[1:] + v[:-1]).mean() / 2 for v in values)  # by the trapezoidal rule
        assert bd_rate(*curves).percent == pytest.approx(100 * (2 ** (other - reference) - 1), rel=1e-6, abs=1e-6)


def test_beaten_points_are_left_out() -> None:
    """A point that costs more and is no better, or costs nothing, is not on the curve, in whatever order they come."""
    curve = front([441, 0, 100, 441, 300, 350], [19.0, 12.0, 17.0, 20.0, 18.5, 18.0])
    assert curve.rates.tolist() == [100, 300, 441]
    assert curve.qualities.tolist() == [17.0, 18.5, 20.0]
    assert curve.dropped == 3


def test_what_cannot_be_compared_is_refused() -> None:
    """Curves without a quality in common, of one point, or with values that are not finite have one sentence each."""
    with pytest.raises(NoOverlap, match=r"no quality in common \(25 to 27 and 20 to 24\)"):
        bd_rate(front([1, 2], [20, 24]), front([1, 2], [25, 27]))
    with pytest.raises(NoOverlap):
        bd_rate(front([1, 2], [20, 24]), front([1, 2], [24, 27]))
    with pytest.raises(UsageError, match="the other curve has 1 of the 2 points"):
        bd_rate(front([1, 2], [20, 24]), front([1, 2], [22, 22]))
    with pytest.raises(UsageError, match="finite"):
        front([1, math.inf], [20, 24])
