"""Compare states of modules, and other values, bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def state(module: nn.Module) -> dict[str, Any]:
    """Return a copy of the module's ``state_dict``."""
    saved = module.state_dict()
    return {name: value.detach().clone() if isinstance(value, Tensor) else value for name, value in saved.items()}


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the names of values that are not in both, or not equal bit for bit."""
    return [name for name in {**a, **b} if name not in a or name not in b or not same(a[name], b[name])]


def apart(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Return the names of values that differ by more than rounding.

    Also of those that are not in both.
    """
    return [
        name
        for name in differing(a, b)
        if name not in a
        or name not in b
        or a[name].shape != b[name].shape
        or not torch.allclose(a[name].double(), b[name].double(), rtol=1e-4, atol=1e-5)
    ]


def same(a: Any, b: Any) -> bool:
    """Return whether two values are equal bit for bit; NaN equals NaN."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    return bool(a == b)
