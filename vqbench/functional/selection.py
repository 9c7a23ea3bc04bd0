"""The smallest entries of each row, as one operation that a compiled graph keeps whole."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor


def by_torch(s: Tensor, count: int) -> Tensor:
    """:func:`smallest` by torch's top-k, on any device."""
    return s.topk(count, largest=False, sorted=False).indices.clone()


def by_numpy(s: Tensor, count: int) -> Tensor:
    """:func:`smallest` by numpy, whose vectorised partition takes a fifth of top-k's time for half of a row.

    Rows are divided among threads, as top-k does; numpy works without the interpreter's lock.
    """

    def part(rows: np.ndarray) -> np.ndarray:
        return np.argpartition(rows, count - 1, axis=1)[:, :count]

    threads = min(torch.get_num_threads(), len(s))
    if threads <= 1:
        return torch.from_numpy(part(s.numpy()))
    with ThreadPoolExecutor(threads) as pool:
        return torch.from_numpy(np.concatenate(list(pool.map(part, np.array_split(s.numpy(), threads)))))


@torch.library.custom_op("vqbench::smallest", mutates_args=())
def smallest(s: Tensor, count: int) -> Tensor:
    """Where the ``count`` smallest entries of each row of ``s`` (k, N) stand: (k, count) int64, in no order.

    Among equal entries at the edge, any may be chosen, but exactly ``count`` are. 0 < count ≤ N.
    """
    return by_torch(s, count)


smallest.register_kernel("cpu")(by_numpy)


@smallest.register_fake
def _(s: Tensor, count: int) -> Tensor:
    return s.new_empty((len(s), count), dtype=torch.int64)
