"""Validate arguments and shapes, convert maps to rows, keep full precision."""

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
    """Raise UsageError unless ``value`` is one of the Literal ``choices``."""
    known = get_args(choices)
    if value not in known:
        raise UsageError(f"unknown {argument} {value!r}; {nearest(value, known)}")


def full_precision(forward: Forward) -> Forward:
    """Decorate a quantizer's ``forward`` to compute in full precision.

    No autocast inside, at least float32, and ``z_q`` back in the type of ``z``.

    Products are true float32, forward and backward; TF32, if allowed, applies to the backbone alone. Distances of
    nearby codes cancel in lower precision, and running statistics lose their small increments. In evaluation the ranks
    exchange nothing: a rank with fewer images left would never join the exchange.

    Raises UsageError for an empty batch in training mode: its means are NaN, and a codebook that took them up would
    keep them.
    """

    @functools.wraps(forward)
    def wrapped(self: Any, z: Tensor) -> QuantizerOutput:
        if self.training and z.numel() == 0:
            raise UsageError(f"no features of shape {tuple(z.shape)} to train on; skip empty batches, or call eval()")
        exchange = nullcontext() if self.training or world_size() == 1 else WholeBatch()
        exporting = torch.compiler.is_exporting()  # to a program that torch may not be able to load with such a region
        with nullcontext() if exporting else torch.autocast(z.device.type, enabled=False), exchange:
            out = strictly(functools.partial(forward, self), z if z.dtype == torch.float64 else z.float())
        out.z_q = out.z_q.to(z.dtype)
        return out

    return wrapped  # type: ignore[return-value]  # called as ``forward`` is


def flatten(z: Tensor, dim: int) -> Tensor:
    """Return the features (B·H·W, dim) of a map (B, dim, H, W).

    Ordered by image, then row, then column.

    Raises UsageError if ``z`` has another shape.
    """
    require(
        z.ndim == 4 and z.shape[1] == dim,
        f"a quantizer of dim {dim} needs features (B, {dim}, H, W), not {tuple(z.shape)}; give both the same dim",
    )
    return z.permute(0, 2, 3, 1).reshape(-1, dim)


def unflatten(rows: Tensor, z: Tensor) -> Tensor:
    """Return ``rows`` (B·H·W, D) as a map (B, D, H, W), inverting ``flatten``.

    B, H and W are those of the map ``z``.
    """
    batch, _, height, width = z.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def code_map(codes: Tensor, z: Tensor) -> Tensor:
    """Return codes (B·H·W,) as (B, H, W, 1), with B, H, W of the map ``z``."""
    return codes.view(z.shape[0], *z.shape[2:], 1)


def look_up(codes: Tensor, codebook: Tensor) -> Tensor:
    """Return the map (B, D, H, W) of code vectors for ``codes`` (B, H, W, 1).

    ``codebook`` is (K, D). Raises UsageError for codes of another shape.
    """
    require_codes(codes, depth=1)
    return F.embedding(codes[..., 0], codebook).permute(0, 3, 1, 2)


def require_codes(codes: Tensor, depth: int) -> None:
    """Raise UsageError unless ``codes`` have the shape (B, H, W, depth)."""
    require(codes.ndim == 4 and codes.shape[-1] == depth, f"codes must be (B, H, W, {depth}), not {tuple(codes.shape)}")
