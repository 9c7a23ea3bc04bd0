"""Collect facts about a method for the table of methods.

From its class, and from a few training steps.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vqbench.quantizer import Quantizer

STEPS = 25  # of training without an optimiser: enough for every rule that acts after some steps


def facts(quantizer: Quantizer, z: Tensor) -> dict[str, Any]:
    """Return source, bits, learning and rank support of ``quantizer``.

    ``z`` (B, dim, H, W) are features for training steps, which change the quantizer. Codes learn by ``gradient`` if a
    parameter gets one, by a ``rule`` if forward changes a matrix, or by both.
    """
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer.train()
    for step in range(STEPS):
        quantizer.anneal(step / STEPS)
        out = quantizer(z.detach().requires_grad_())
        (out.z_q.square().mean() + out.loss).backward()
    after = quantizer.state_dict()
    moved = any(value.ndim > 1 and not torch.equal(value, before[name]) for name, value in after.items())
    has_gradient = any(
        parameter.grad is not None and bool(parameter.grad.any()) for parameter in quantizer.parameters()
    )
    return {
        "paper": quantizer.paper,
        "bits": quantizer.bits if math.isfinite(quantizer.bits) else None,
        "learns": [word for word, applies in (("gradient", has_gradient), ("rule", moved)) if applies],
        "distributed": quantizer.distributed,
    }
