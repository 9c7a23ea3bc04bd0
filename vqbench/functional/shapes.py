"""Arguments, shapes, precision: what every quantizer does before and after its mathematics."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import WholeBatch, world_size
from vqbench.errors import UsageError, nearest
from vqbench.functional.precision import strictly
from vqbench.quantizer import QuantizerOutput

Forward = TypeVar("Forward", bound=Callable[[Any, Tensor], QuantizerOutput])


def require(condition: bool, sentence: str) -> None:
    """Raise UsageError with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(sentence)


def require_choice(argument: str, value: object, choices: Any) -> None:
    """Raise UsageError unless ``value`` is one of the values of the Literal ``choices``."""
    known = get_args(choices)
    if value not in known:
        raise UsageError(f"unknown {argument} {value!r}; {nearest(value, known)}")


def full_precision(forward: Forward) -> Forward:
    """Decorate a quantizer's forward: no autocast inside, at least float32, ``z_q`` back in the type of ``z``.

    Products are true float32, forward and backward: TF32, where it is allowed, holds for the backbone alone.
    Distances of nearby codes cancel in lower precision, and running statistics lose their small increments.
    In evaluation nothing is exchanged between ranks: one that has fewer images left would be waited for in vain.
    """

    @functools.wraps(forward)
    def wrapped(self: Any, z: Tensor) -> QuantizerOutput:
        exchange = nullcontext() if self.training or world_size() == 1 else WholeBatch()
        with torch.autocast(z.device.type, enabled=False), exchange:
            out = strictly(functools.partial(forward, self), z if z.dtype == torch.float64 else z.float())
        out.z_q = out.z_q.to(z.dtype)
        return out

    return wrapped  # type: ignore[return-value]  # called as ``forward`` is


def flatten(z: Tensor, dim: int) -> Tensor:
    """The features (B·H·W, dim) of a map (B, dim, H, W), images first, then rows, then columns."""
    require(
        z.ndim == 4 and z.shape[1] == dim,
        f"a quantizer of dim {dim} needs features (B, {dim}, H, W), not {tuple(z.shape)}; give both the same dim",
    )
    return z.permute(0, 2, 3, 1).reshape(-1, dim)


def unflatten(rows: Tensor, z: Tensor) -> Tensor:
    """The map (B, D, H, W) of ``rows`` (B·H·W, D), with the B, H, W of the map ``z``; the inverse of ``flatten``."""
    batch, _, height, width = z.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def code_map(codes: Tensor, z: Tensor) -> Tensor:
    """Codes (B·H·W,) as (B, H, W, 1), with the B, H, W of the map ``z``."""
    return codes.view(z.shape[0], *z.shape[2:], 1)


def look_up(codes: Tensor, codebook: Tensor) -> Tensor:
    """The map (B, D, H, W) of the code vectors named by ``codes`` (B, H, W, 1)."""
    require_codes(codes, depth=1)
    return F.embedding(codes[..., 0], codebook).permute(0, 3, 1, 2)


def require_codes(codes: Tensor, depth: int) -> None:
    """Raise UsageError unless ``codes`` are a map (B, H, W, depth)."""
    require(codes.ndim == 4 and codes.shape[-1] == depth, f"codes must be (B, H, W, {depth}), not {tuple(codes.shape)}")
