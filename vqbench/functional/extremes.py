"""What the contrastive term takes from each row of similarities, as one operation that a compiled graph keeps whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 2**18  # entries that a thread partitions at once: 1 MiB in float32, small enough for its own cache
LOWEST = 70.0  # e⁻⁷⁰ is nothing beside a sum of at least 1, and a product with it is still a normal float32


class Selection(NamedTuple):
    """Of each row of ``s``: where its ``near`` largest stand, their mean, and what its ``far`` smallest add up to."""

    nearest: Tensor  # (k, near) int64
    positive: Tensor  # (k, 1): the mean of the nearest
    edge: Tensor  # (k, 1): the largest of the smallest
    total: Tensor  # (k, 1): Σ exp(s − edge) over the smallest


def _empty(s: Tensor, near: int) -> Selection:
    k = len(s)
    return Selection(s.new_empty((k, near), dtype=torch.int64), *(s.new_empty((k, 1)) for _ in range(3)))


def by_torch(s: Tensor, near: int, far: int) -> Selection:
    """:func:`select_` by torch's top-k, on any device."""
    top = s.topk(near, sorted=False)
    least, places = s.topk(far, largest=False, sorted=False)
    edge = least.amax(1, keepdim=True)
    weights = (least - edge).exp()
    s.zero_().scatter_(1, places, weights)
    return Selection(top.indices.clone(), top.values.mean(1, keepdim=True), edge, weights.sum(1, keepdim=True))


def by_numpy(s: Tensor, near: int, far: int) -> Selection:
    """:func:`select_` by numpy's vectorised partition, which finds the two edges of a row in a tenth of top-k's time.

    Rows are divided among threads; numpy works without the interpreter's lock. What is beyond an edge is weighed by
    comparison with it. That would count too many where entries are equal to the edge: those rows go to top-k.
    """
    found = _empty(s, near)
    tied = torch.zeros(len(s), dtype=torch.bool)
    size = max(1, AT_ONCE // s.shape[1])
    parts = [(rows, *into) for rows, *into in zip(*(t.split(size) for t in (s, *found[:3], tied)), strict=True)]

    def look(part: tuple[Tensor, ...]) -> None:
        _edges(far, *(tensor.numpy() for tensor in part))

    threads = min(torch.get_num_threads(), len(parts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(look, parts))
    else:
        for part in parts:
            look(part)
    rows = tied.nonzero()[:, 0]
    equals = s[rows]
    plain = by_torch(equals, near, far) if len(rows) else None
    torch.sub(found.edge, s, out=s)  # at least 0 where it counts
    torch.threshold_(s, -torch.finfo(s.dtype).tiny, LOWEST).clamp_(max=LOWEST).neg_().exp_()
    torch.sum(s, 1, keepdim=True, out=found.total)
    if plain:
        s[rows] = equals
        for ours, theirs in zip(found, plain, strict=True):
            ours[rows] = theirs
    return found


def _edges(
    far: int, s: np.ndarray, nearest: np.ndarray, positive: np.ndarray, edge: np.ndarray, tied: np.ndarray
) -> None:
    """Of some rows ``s`` (k, N): all that is asked but the sum, and whether an edge is shared by entries beyond it."""
    near, n = nearest.shape[1], s.shape[1]
    ordered = np.partition(s, far - 1, axis=1)
    edge[:] = ordered[:, far - 1 : far]
    tied[:] = ordered[:, far:].min(1) == edge[:, 0]
    upper = ordered[:, min(far, n - near) :]  # the nearest are among these
    upper.partition(upper.shape[1] - near, axis=1)
    positive[:] = upper[:, -near:].mean(1, keepdims=True)
    places = np.flatnonzero(s >= upper[:, -near][:, None])  # row by row; faster than np.nonzero
    if len(places) == nearest.size:
        nearest[:] = places.reshape(nearest.shape) % n
    else:  # equal entries at the edge, or none at all: the values are no numbers
        tied[:] = True


@torch.library.custom_op("vqbench::select_", mutates_args=("s",))
def _select(s: Tensor, near: int, far: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return by_torch(s, near, far)


@_select.register_kernel("cpu")
def _(s: Tensor, near: int, far: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return by_numpy(s, near, far)


@_select.register_fake
def _(s: Tensor, near: int, far: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty(s, near)


def select_(s: Tensor, near: int, far: int) -> Selection:
    """Replace each row of ``s`` (k, N) by exp(s − edge) where its ``far`` smallest stand and by nothing elsewhere.

    Nothing is at most e⁻⁷⁰. Among equal entries at an edge any may be chosen, but exactly ``near`` and ``far`` are.
    0 < near ≤ N and 0 < far < N.
    """
    return Selection(*_select(s, near, far))
