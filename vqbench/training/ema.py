"""Moving averages of weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class WeightAverage:
    """The moving average of a model's parameters, after every update.

    a ← d·a + (1 − d)·p

    d = min(``decay``, (1 + n)/(10 + n)) at update n, counted from 1, so that a short training is not the average of its
    start. Buffers (statistics of codebooks that do not learn by gradient) are not averaged: they are averages already.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the parameters as they are after update ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        parameters = dict(self.model.named_parameters())
        averages = [self.values[name] for name in parameters]
        torch._foreach_lerp_(averages, [*parameters.values()], 1 - decay)  # on a GPU, a few launches for all

    def averaged_state(self) -> dict[str, Tensor]:
        """Return the state of the model with its parameters averaged."""
        return self.model.state_dict() | self.values

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averages by the names of the parameters."""
        return self.values

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Copy averages from a checkpoint."""
        for name, value in state.items():
            self.values[name].copy_(value)
