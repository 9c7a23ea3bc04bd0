"""Seeds by purpose.

A (seed, data set, purpose) gives equal numbers in every suite, row and restart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

Seeds = Callable[..., int]


def derive(*what: str | int) -> int:
    """Return a seed in [0, 2^63) that depends on ``what`` alone."""
    text = "\0".join(f"{type(word).__name__}:{word}" for word in what)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeds(seed: int, dataset: str) -> Seeds:
    """Return the function (purpose, counters ...) -> seed of one run.

    It depends on the run's seed and data set, but neither on its quantizer nor on its suite: all quantizers of a seed
    see the same images in the same order and start from the same backbone, so that comparisons are paired.
    """
    return lambda purpose, *counters: derive(seed, dataset, purpose, *counters)
