"""What a method is, as far as a class tells and a few steps show: for the table of methods."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vqbench.quantizer import Quantizer

STEPS = 25  # of training without an optimiser: enough for every rule that waits for some steps


def facts(quantizer: Quantizer, z: Tensor) -> dict[str, Any]:
    """Source, bits a position, what its codes learn by, and whether several ranks may train it.

    ``z`` (B, dim, H, W) are features for the steps that show what moves: by ``gradient``, where a parameter gets one,
    by a ``rule`` of its own, where forward moves a matrix, or by both. The quantizer is not to be used any more.
    """
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer.train()
    for step in range(STEPS):
        quantizer.anneal(step / STEPS)
        out = quantizer(z.detach().requires_grad_())
        (out.z_q.square().mean() + out.loss).backward()
    after = quantizer.state_dict()
    moved = any(value.ndim > 1 and not torch.equal(value, before[name]) for name, value in after.items())
    taught = any(parameter.grad is not None and bool(parameter.grad.any()) for parameter in quantizer.parameters())
    return {
        "paper": quantizer.paper,
        "bits": quantizer.bits if math.isfinite(quantizer.bits) else None,
        "learns": [word for word, does in (("gradient", taught), ("rule", moved)) if does],
        "distributed": quantizer.distributed,
    }
