"""Uniform features, to compare quantizers without an encoder."""

from __future__ import annotations

from math import sqrt
from typing import ClassVar

import numpy as np

from vqbench.datasets._sources import MemorylessSource


class Uniform(MemorylessSource):
    """Features whose values are independent and uniform in [-√3, √3].

    In one dimension the best codebook of K codes is a uniform grid, with a relative error of exactly 1/K².
    """

    title: ClassVar[str] = "Uniform"
    source: ClassVar[str] = "drawn from U(-√3, √3) by a seed"

    @staticmethod
    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        return generator.uniform(-sqrt(3), sqrt(3), shape)
