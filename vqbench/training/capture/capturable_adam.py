"""Adam whose numbers lie on the device, so that a CUDA graph can repeat its step."""

from __future__ import annotations

from typing import Any

import torch


class CapturableAdam(torch.optim.Adam):
    """Adam with counts of updates and the recipe's rate on the device.

    The same formula as :class:`torch.optim.Adam`, with corrections in float32 instead of Python's numbers. Its
    ``state_dict`` is that of the plain optimizer, so that a training may resume with or without captured updates.

    Args:
        groups: of parameters, the first one at the recipe's rate; see
            :func:`vqbench.training.learning_rates.parameter_groups`.
        rate: the recipe's learning rate, which :func:`vqbench.training.learning_rates.set_rate` may change.
        device: of the parameters.
    """

    def __init__(self, groups: list[dict[str, Any]], rate: float, device: torch.device) -> None:
        self._rate = torch.full((), rate, dtype=torch.float32, device=device)
        super().__init__(groups, lr=self._rate, capturable=True)
        self._warned_capturable_if_run_uncaptured = True  # torch warns of each step that no graph repeats

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a plain Adam has it, waiting for the device."""
        state = super().state_dict()
        for group in state["param_groups"]:
            group["lr"], group["capturable"] = float(group["lr"]), False
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a plain Adam, and move its numbers to the device."""
        groups = [{**group, "capturable": True} for group in state_dict["param_groups"]]
        super().load_state_dict({**state_dict, "param_groups": groups})
        first = self.param_groups[0]
        first["lr"] = self._rate.fill_(first["lr"])
