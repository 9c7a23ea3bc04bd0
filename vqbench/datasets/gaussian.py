"""Gaussian features, to compare quantizers without an encoder."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from vqbench.datasets._sources import MemorylessSource


class Gaussian(MemorylessSource):
    """Features whose values are independent and standard normal.

    The source of which most is known: in one dimension the best codebooks of every size are tabulated (J. Max,
    Quantizing for Minimum Distortion, IRE Transactions on Information Theory 6, 1960), and in every dimension the
    rate-distortion function bounds what a codebook can reach.
    """

    title: ClassVar[str] = "Gaussian"
    source: ClassVar[str] = "drawn from N(0, 1) by a seed"

    @staticmethod
    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return generator.standard_normal(shape, dtype=np.float32)
