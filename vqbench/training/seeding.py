"""Derive seeds by purpose, equal in every suite, row and restart.

A (seed, data set, purpose) always gives the same random numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

Seeds = Callable[..., int]


def derive(*what: str | int) -> int:
    """Derive a seed in [0, 2^63) from all words and numbers of ``what``."""
    text = "\0".join(f"{type(word).__name__}:{word}" for word in what)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeds(seed: int, dataset: str) -> Seeds:
    """Return the function (purpose, counters ...) -> seed of one run.

    Its seeds depend on the run's seed and data set, but on neither its quantizer nor its suite: all quantizers at one
    seed are trained on the same images in the same order and start from the same backbone, so comparisons are paired.
    """
    return lambda purpose, *counters: derive(seed, dataset, purpose, *counters)
