"""The contract of what a second stage trains: it makes pictures by way of a trained autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vqbench.model import Autoencoder


class Generator(nn.Module):
    """Makes pictures, each from a seed of its own.

    ``state_dict`` and ``parameters`` are of what was trained here, not of the autoencoder, which keeps its own
    checkpoint.
    """

    def __init__(self, first: Autoencoder) -> None:
        super().__init__()
        self._first = (first.eval(),)  # in a tuple, so that it is no part of what is trained and kept

    @property
    def first(self) -> Autoencoder:
        """The trained autoencoder."""
        return self._first[0]

    def sample(self, seeds: Sequence[int], **settings: Any) -> Tensor:
        """Pictures (len(seeds), C, S, S) in [-1, 1], one a seed, whatever else is in the batch.

        ``settings`` are those that the recipe names in ``sampler``. All random numbers of a picture come from its seed,
        on the CPU, so that rows and devices are compared on equal ones.
        """
        raise NotImplementedError
