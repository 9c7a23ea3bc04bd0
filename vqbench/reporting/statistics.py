"""Statistics for few expensive runs: spread, paired and multiple comparisons."""

from __future__ import annotations

import math
import statistics as _statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vqbench.errors import UsageError

_CHUNK_BYTES = 1 << 24  # memory that one chunk of bootstrap resamples may take


def mean(values: Sequence[float]) -> float:
    """Return the mean of at least one value; not finite where a value is not."""
    if not values:
        raise UsageError("a mean needs at least one value, got none")
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else float(np.mean(values))


def deviation(values: Sequence[float]) -> float | None:
    """Return the sample standard deviation (divisor n − 1), or None.

    None for fewer than two values, or where one is not finite.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    return _statistics.stdev(values)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Return Student's interval for the mean of ``values``, one per seed.

    The values are treated as independent normal draws: m ± t · s / √n, with t the (1 + confidence) / 2 quantile of
    Student's distribution with n − 1 degrees of freedom. Two seeds give t = 12.7, so that their interval is wide.
    Raises UsageError for fewer than two finite values.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        raise UsageError(f"an interval over seeds needs two or more finite values, got {list(values)}")
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence lies between 0 and 1, got {confidence}")
    from scipy.special import stdtrit  # slow to import, and only needed here

    centre, spread = mean(values), _statistics.stdev(values)
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * spread / math.sqrt(len(values))
    return centre - half, centre + half


@dataclass(frozen=True)
class PairedBootstrap:
    """The result of :func:`paired_bootstrap` on a − b."""

    difference: float  # mean of a − mean of b, on the data themselves
    low: float  # 2.5 % quantile of the resampled differences
    high: float  # 97.5 % quantile
    share: float  # of the resamples in which a beats b, in [0, 1]; a tie counts one half
    resamples: int

    @property
    def p_value(self) -> float:
        """Two-sided p-value of "neither is better"; never zero.

        Twice the smaller share, with finitely many resamples.
        """
        rarer = min(self.share, 1 - self.share) * self.resamples
        return min(1.0, 2 * (rarer + 1) / (self.resamples + 1))


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, better: Literal["min", "max"], resamples: int = 2000, seed: int = 0
) -> PairedBootstrap:
    """Estimate how often ``a`` beats ``b`` in paired bootstrap resamples.

    Both are (seeds, images), or (images,) for one seed, of the same images in the same order.

    Each resample draws images with replacement, the same for both, and seeds with replacement: the same for both where
    their number is equal (row s of both then has to be the same seed), else independently. With one seed the answer
    holds for these two trained models alone; with few, the spread over seeds is understated by (n − 1) / n.
    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993. The same ``seed`` gives the same answer.
    """
    if better not in ("min", "max"):
        raise UsageError(f"better is 'min' or 'max', got {better!r}")
    if resamples < 1:
        raise UsageError(f"a bootstrap needs at least one resample, got {resamples}")
    a, b = _per_image(a, "a"), _per_image(b, "b")  # (S_a, N), (S_b, N)
    if a.shape[1] != b.shape[1]:
        raise UsageError(f"a pairing needs the same images: a has {a.shape[1]}, b has {b.shape[1]}")
    differences = _resampled_differences(a, b, resamples, np.random.default_rng(seed))  # (R,)
    gains = differences if better == "max" else -differences
    low, high = np.quantile(differences, [0.025, 0.975])
    share = float(np.mean((gains > 0) + 0.5 * (gains == 0)))
    return PairedBootstrap(float(a.mean() - b.mean()), float(low), float(high), share, resamples)


@dataclass(frozen=True)
class PairedTest:
    """The result of :func:`paired_test` on a − b."""

    difference: float  # mean of a − mean of b
    low: float  # of the interval for it
    high: float
    p_value: float  # two-sided, for "the difference is zero"
    seeds: int
    images: int


def paired_test(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> PairedTest:
    """Test whether the means of ``a`` and ``b`` differ.

    Both are (seeds, images) of the same seeds and images in the same order.

    Images and seeds are both samples. With d the differences, S seeds and N images, MS_seed = N·var(means over images)
    and MS_image = S·var(means over seeds), t = mean(d) / √((MS_seed + MS_image) / (S·N)), whose square is min F′ of
    H. H. Clark, "The Language-as-Fixed-Effect Fallacy", Journal of Verbal Learning and Verbal Behavior 12, 1973.
    It is compared with Student's distribution with S − 1 degrees of freedom. Clark approximates more degrees, which
    with two seeds covers 91 % instead of 95 %; with S − 1, no claim goes beyond that of a test over the seeds alone.
    With one seed this is the paired t-test over images, which does not generalize to other seeds. Raises UsageError
    for other shapes and for a single pair.
    """
    a, b = _per_image(a, "a"), _per_image(b, "b")
    if a.shape != b.shape or a.size < 2:
        raise UsageError(f"a paired test needs two or more pairs of the same shape, got {a.shape} and {b.shape}")
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence lies between 0 and 1, got {confidence}")
    from scipy.special import stdtr, stdtrit  # slow to import, and only needed here

    gaps = a - b  # (S, N)
    seeds, images = gaps.shape
    squares = [
        size * float(means.var(ddof=1)) if count > 1 else 0.0
        for count, size, means in ((seeds, images, gaps.mean(1)), (images, seeds, gaps.mean(0)))
    ]
    centre, error = float(gaps.mean()), math.sqrt(sum(squares) / gaps.size)
    if error <= 1e-12 * abs(centre) or error == 0:  # all differences are equal
        return PairedTest(centre, centre, centre, 0.0 if centre else 1.0, seeds, images)
    freedom = seeds - 1 if seeds > 1 else images - 1
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * error
    p_value = min(1.0, 2 * float(stdtr(freedom, -abs(centre) / error)))
    return PairedTest(centre, centre - half, centre + half, p_value, seeds, images)


def _per_image(values: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if array.ndim != 2 or array.size == 0:
        raise UsageError(f"{name} has to be (seeds, images) with at least one of each, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise UsageError(f"{name} has values that are not finite; a mean over images does not exist")
    return array


def _resampled_differences(
    a: NDArray[np.float64], b: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    images = a.shape[1]
    chunk = max(1, _CHUNK_BYTES // (8 * images))
    parts = []
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        weights_a = _seed_weights(len(a), rows, rng)  # (rows, S_a)
        weights_b = weights_a if len(a) == len(b) else _seed_weights(len(b), rows, rng)
        gap = weights_a @ a - weights_b @ b  # (rows, N)
        drawn = rng.integers(0, images, size=(rows, images))
        parts.append(np.take_along_axis(gap, drawn, axis=1).mean(axis=1))
    return np.concatenate(parts)


def _seed_weights(seeds: int, rows: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw ``seeds`` seeds with replacement: the share of each, (rows, seeds)."""
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=rows) / seeds


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, in the order given.

    Rejecting those below α keeps the chance of any error below α.

    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise UsageError(f"p-values lie between 0 and 1, got {list(p_values)}")
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = floor
    return adjusted
