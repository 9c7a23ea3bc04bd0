"""An optimizer's learning rates: the recipe's, and those a quantizer declares."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqbench.errors import RunError
from vqbench.quantizer import Quantizer

Decay = Literal["constant", "linear", "cosine"]


def rate_factor(decay: Decay, progress: float) -> float:
    """Return the share of the learning rate left at ``progress``.

    From 1 at ``progress`` 0, a decay falls to 0 at 1.
    """
    if decay == "linear":
        return 1 - progress
    if decay == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


def parameter_groups(parameters: Iterable[nn.Parameter], quantizer: Quantizer | None) -> list[dict[str, Any]]:
    """Group ``parameters`` for an optimizer, by their learning rates.

    The first group has those at the recipe's rate; each rate that ``quantizer`` declares has a group after it, in the
    order of the rates. Without any, all are in the first, in their order.

    Raises RunError for a rate of no parameter, and for one that is not above 0.
    """
    rates = quantizer_rates(quantizer) if quantizer is not None else {}
    kept: list[nn.Parameter] = []
    grouped: dict[float, list[nn.Parameter]] = {rate: [] for rate in sorted(set(rates.values()))}
    for parameter in parameters:
        grouped.get(rates.get(parameter, 0.0), kept).append(parameter)
    return [{"params": kept}, *({"params": own, "lr": rate} for rate, own in grouped.items() if own)]


def quantizer_rates(quantizer: Quantizer) -> dict[nn.Parameter, float]:
    """Return the learning rates that ``quantizer`` declares, by parameter.

    Raises RunError for a rate of no parameter, and for one that is not above 0.
    """
    parameters, rates = dict(quantizer.named_parameters()), quantizer.learning_rates()
    for name, rate in rates.items():
        owner = type(quantizer).__name__
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise RunError(f"learning_rates of {owner} names {name!r}, which is no parameter of it; it has: {known}")
        if not rate > 0:
            raise RunError(f"the learning rate that {owner} declares for {name!r} is {rate}; make it positive")
    return {parameters[name]: rate for name, rate in rates.items()}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the recipe's learning rate, for the next update; declared ones stay."""
    group = optimizer.param_groups[0]
    if isinstance(group["lr"], Tensor):  # read by a CUDA graph
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate
