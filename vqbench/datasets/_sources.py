"""Features drawn independently from one distribution, by a seed."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from vqbench.bounds import NonNegativeInt, PositiveInt, Width
from vqbench.dataset import Dataset, Split

if TYPE_CHECKING:
    from torch import Tensor


class MemorylessSource(Dataset):
    """Features whose values are independent, with mean 0 and variance 1.

    An image is one feature. The first D of its ``dim`` values are a source of D dimensions, so that one data set serves
    codebooks of every dimension up to ``dim``. Splits are drawn apart; if numpy's generator, whose stream may
    change between versions, draws others, the digest of the test split differs.
    """

    of_features: ClassVar[bool] = True
    licence: ClassVar[str] = "CC0"
    size: ClassVar[int] = 1
    holdout: ClassVar[int] = 0
    check_args: ClassVar = {"dim": 6, "train": 300, "test": 100}

    def __init__(
        self, *, dim: Width = 64, train: PositiveInt = 65_536, test: PositiveInt = 131_072, seed: NonNegativeInt = 0
    ) -> None:
        self.channels = dim  # type: ignore[misc]  # of this one, not of the class
        self.counts = {"train": train, "test": test}  # type: ignore[misc]  # likewise
        self.seed = seed

    def pixels(self, split: Split) -> Tensor:
        """Return the features of ``split``: (N, dim, 1, 1) float32."""
        import torch  # a plan needs this module, but no torch

        generator = np.random.default_rng([self.seed, ("train", "test").index(split)])  # of its own for each split
        values = self.draw(generator, (self.counts[split], self.channels))
        return torch.from_numpy(values.astype(np.float32))[:, :, None, None]

    @staticmethod
    @abstractmethod
    def draw(generator: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
        """Draw an array of ``shape``, of mean 0 and variance 1."""
