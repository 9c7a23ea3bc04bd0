"""The entropy of codes, from how often each of them occurred."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqbench.errors import UsageError


def entropy_bits(counts: Any) -> float:
    """Return −Σ q log2 q of the shares of ``counts`` (K,), in 0 ... log2 K bits.

    An ideal code needs so many bits per symbol on average. Raises UsageError for counts of no code.

    >>> entropy_bits([4, 2, 1, 1])
    1.75
    """
    counts = np.asarray(counts, dtype=np.float64)
    if counts.ndim != 1 or (counts < 0).any() or not counts.sum() > 0:
        raise UsageError(f"an entropy needs counts of at least one code, got shape {counts.shape}")
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0  # no negative zero


def image_entropy_bits(counts: Any, cells: Sequence[float]) -> float:
    """Return Σ_d n_d · H_d bits per image, an entropy H_d for each depth d.

    Args:
        counts: (depth, K), how often each code of a depth occurred.
        cells: (depth,), n_d: the codes of a depth that describe one image, such as the cells of its grid.

    >>> image_entropy_bits([[7, 7, 0, 0], [1, 1, 1, 1]], [3, 5])
    13.0
    """
    return float(sum(float(n) * entropy_bits(each) for n, each in zip(cells, counts, strict=True)))
