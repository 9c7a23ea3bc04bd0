"""Kendall's rank correlation of two columns, with a bootstrap over rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vqbench.errors import UsageError

FEWEST = 5  # rows; of four, a correlation of 1 is chance in one order of 24
RESAMPLES = 2000


@dataclass(frozen=True)
class RankCorrelation:
    """Kendall's τ_b of two columns over some rows, and a 95 % interval."""

    tau: float  # in [-1, 1]
    low: float
    high: float
    rows: int


def rank_correlation(a: ArrayLike, b: ArrayLike, resamples: int = RESAMPLES, seed: int = 0) -> RankCorrelation | None:
    """Return how far ``a`` and ``b`` order the rows alike.

    Both are (rows,). None where all values of one of them are equal.

    τ_b = Σ s_ij t_ij / √(Σ s_ij² · Σ t_ij²) over all pairs of rows, with the signs s_ij of a_i − a_j and t_ij of
    b_i − b_j: 1 for equal orders, −1 for opposite ones, ties allowed. M. G. Kendall, The treatment of ties in ranking
    problems, Biometrika 33, 1945. The interval is from the 2.5 % to the 97.5 % quantile of τ_b in ``resamples`` draws
    of the rows with replacement; pairs of a row with itself do not count, and draws without an order are left out. The
    same ``seed`` gives the same interval.

    Raises UsageError for other shapes, values that are not finite, and fewer than five rows.

    >>> rank_correlation([1, 2, 3, 4, 5], [10, 20, 30, 50, 40]).tau
    0.8
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise UsageError(f"a rank correlation needs two columns of finite values, got shapes {x.shape} and {y.shape}")
    if len(x) < FEWEST:
        raise UsageError(f"a rank correlation needs {FEWEST} rows or more, got {len(x)}")
    signs = [np.sign(each[:, None] - each[None, :]) for each in (x, y)]  # (rows, rows)
    sums = [signs[0] * signs[1], signs[0] ** 2, signs[1] ** 2]
    [tau] = _tau(np.ones((1, len(x))), *sums)
    if not np.isfinite(tau):
        return None
    draws = np.random.default_rng(seed).multinomial(len(x), np.full(len(x), 1 / len(x)), resamples)
    drawn = _tau(draws.astype(np.float64), *sums)  # (resamples,)
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return RankCorrelation(float(tau), float(low), float(high), len(x))


def _tau(
    counts: NDArray[np.float64], both: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return τ_b (draws,) of rows that are drawn ``counts`` (draws, rows) times.

    NaN where all values that are drawn of one column are equal.
    """
    s, t = (((counts @ squares) * counts).sum(1) for squares in (first, second))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = ((counts @ both) * counts).sum(1) / np.sqrt(s * t)
    return found
