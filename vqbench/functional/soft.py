"""Methods that weigh all codes of every feature, by blocks of features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqbench.functional import codes
from vqbench.functional.ranks import shard, to_gumbel

# Entries of the (N, K) matrices up to which a step keeps them for its backward pass (128 MiB each; the paper's batch
# on CIFAR10 is just that). Beyond, they are computed a second time there, so that only one block is ever held.
KEPT = 2**25

Weigh = Callable[[Tensor, Tensor | None], tuple[Tensor, ...]]


def by_blocks(weigh: Weigh, features: Tensor, num_codes: int, noisy: bool) -> list[Tensor]:
    """``weigh`` applied to ``features`` (N, D) by blocks: rows (n, …) are put together, scalars are added up.

    ``weigh`` gets some features (n, D) and, if ``noisy``, Gumbel noise (n, num_codes), which is keyed by the features'
    place in the global batch; it must draw no other random numbers. Blocks small enough for a processor's cache take
    a third of the time of whole matrices there.
    """
    start, total = shard(len(features))
    size = max(1, codes.BLOCK // 4 // num_codes)  # several matrices of this size are in use at once
    again = len(features) * num_codes > KEPT and torch.is_grad_enabled()
    parts = []
    for left in range(0, total, size):  # of the global batch, so that all ranks draw alike
        count = min(size, total - left)
        first, last = max(left, start), min(left + count, start + len(features))
        own = slice(first - left, last - left)

        def part(rows: Tensor, count: int = count, own: slice = own) -> tuple[Tensor, ...]:
            uniform = torch.rand(count, num_codes, device=rows.device) if noisy else None
            return weigh(rows, None if uniform is None else to_gumbel(uniform[own]))

        if first < last:
            rows = features[first - start : last - start]
            parts.append(checkpoint(part, rows, use_reentrant=False) if again else part(rows))
        elif noisy:
            torch.rand(count, num_codes, device=features.device)  # another rank's
    return [torch.cat(each) if each[0].ndim else torch.stack(each).sum() for each in zip(*parts, strict=True)]
