"""Moving averages of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


class Average:
    """The moving average of a model's parameters: a ← d·a + (1 − d)·p after every update.

    d is min(``decay``, (1 + t)/(10 + t)) at update t, so that a short training is not the average of its start. Buffers
    (statistics of codebooks that do not learn by gradient) are not averaged: they are averages by themselves.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the parameters as they are now."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        for name, value in model.named_parameters():
            self.values[name].lerp_(value, 1 - decay)

    def of(self, model: nn.Module) -> dict[str, Tensor]:
        """The state of ``model`` with its parameters averaged."""
        return model.state_dict() | self.values

    def state_dict(self) -> dict[str, object]:
        """What must be kept."""
        return {"updates": self.updates, "values": self.values}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what was kept."""
        self.updates = state["updates"]
        for name, value in state["values"].items():
            self.values[name].copy_(value)
