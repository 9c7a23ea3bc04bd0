"""Select the most and the least similar features of each code.

One operation, which a compiled graph keeps whole.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

AT_ONCE = 2**18  # entries that a thread partitions at once: 1 MiB in float32, which fits its own cache
LOWEST = 70.0  # e⁻⁷⁰ is negligible in a sum of at least 1, and its products are still normal float32 numbers


class Extremes(NamedTuple):
    """The ``near`` largest and the ``far`` smallest entries of each row of ``s``."""

    nearest: Tensor  # (k, near) int64: columns of the largest entries
    positive: Tensor  # (k, 1): mean of the nearest
    edge: Tensor  # (k, 1): largest of the smallest
    total: Tensor  # (k, 1): Σ exp(s − edge) over the smallest


def _empty(s: Tensor, near: int) -> Extremes:
    k = len(s)
    return Extremes(s.new_empty((k, near), dtype=torch.int64), *(s.new_empty((k, 1)) for _ in range(3)))


def select_by_topk(s: Tensor, near: int, far: int) -> Extremes:
    """Compute :func:`select_extremes_` by torch's top-k, on any device."""
    top = s.topk(near, sorted=False)
    least, places = s.topk(far, largest=False, sorted=False)
    edge = least.amax(1, keepdim=True)
    weights = (least - edge).exp()
    s.zero_().scatter_(1, places, weights)
    return Extremes(top.indices.clone(), top.values.mean(1, keepdim=True), edge, weights.sum(1, keepdim=True))


def select_by_partition(s: Tensor, near: int, far: int) -> Extremes:
    """Compute :func:`select_extremes_` by numpy's vectorised partition.

    It finds the two edges of a row in a tenth of top-k's time. Rows are divided among threads, since numpy releases the
    interpreter's lock. Entries beyond an edge are found by comparison with it, which would count too many if several
    entries equal the edge: those rows are left to top-k.
    """
    result = _empty(s, near)
    tied = torch.zeros(len(s), dtype=torch.bool)
    size = max(1, AT_ONCE // s.shape[1])
    parts = [(rows, *into) for rows, *into in zip(*(t.split(size) for t in (s, *result[:3], tied)), strict=True)]

    def fill(part: tuple[Tensor, ...]) -> None:
        _edges(far, *(tensor.numpy() for tensor in part))

    threads = min(torch.get_num_threads(), len(parts))
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, parts))
    else:
        for part in parts:
            fill(part)
    rows = tied.nonzero()[:, 0]
    equals = s[rows]
    by_topk = select_by_topk(equals, near, far) if len(rows) else None
    torch.sub(result.edge, s, out=s)  # at least 0 where it counts
    torch.threshold_(s, -torch.finfo(s.dtype).tiny, LOWEST).clamp_(max=LOWEST).neg_().exp_()
    torch.sum(s, 1, keepdim=True, out=result.total)
    if by_topk:
        s[rows] = equals
        for filled, replacement in zip(result, by_topk, strict=True):
            filled[rows] = replacement
    return result


def _edges(
    far: int, s: np.ndarray, nearest: np.ndarray, positive: np.ndarray, edge: np.ndarray, tied: np.ndarray
) -> None:
    """Fill in all but the sum for rows ``s`` (k, N).

    Mark in ``tied`` the rows whose edge several entries equal.
    """
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
    else:  # several entries equal the edge, or none does: the row has a NaN
        tied[:] = True


@torch.library.custom_op("vqbench::select_extremes_", mutates_args=("s",))
def _select(s: Tensor, near: int, far: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return select_by_topk(s, near, far)


@_select.register_kernel("cpu")
def _(s: Tensor, near: int, far: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return select_by_partition(s, near, far)


@_select.register_fake
def _(s: Tensor, near: int, far: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _empty(s, near)


def select_extremes_(s: Tensor, near: int, far: int) -> Extremes:
    """Select the ``near`` largest and ``far`` smallest entries of each row.

    In place, each of the ``far`` smallest becomes exp(s − edge), and every other entry a number of at most e⁻⁷⁰. Among
    equal entries at an edge any may be chosen, but exactly ``near`` and ``far`` are. 0 < near ≤ N and 0 < far < N.
    """
    return Extremes(*_select(s, near, far))
