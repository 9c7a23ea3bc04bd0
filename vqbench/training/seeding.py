"""Random state by purpose: a (seed, data set, purpose) gives the same numbers in every suite, row and restart."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

Seeds = Callable[..., int]


def derive(*what: str | int) -> int:
    """A seed in [0, 2^63) that depends on every word and number of ``what``, and on nothing else."""
    text = "\0".join(f"{type(word).__name__}:{word}" for word in what)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seeds(seed: int, dataset: str) -> Seeds:
    """The function (purpose, counters ...) -> seed of one run.

    It knows the run's seed and data set but neither its quantizer nor its suite: so all quantizers of a seed see
    the same images in the same order and start from the same backbone, which makes comparisons paired.
    """
    return lambda purpose, *counters: derive(seed, dataset, purpose, *counters)
