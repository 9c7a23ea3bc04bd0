"""Methods that weigh all codes of every feature, by blocks of features."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from vqbench.distributed.collectives import shard, to_gumbel
from vqbench.functional import codes

# Entries of the (N, K) matrices up to which a step keeps them for its backward pass (128 MiB each; the paper's batch
# on CIFAR10 is just that). Beyond, they are computed a second time there, so that only one block is ever held.
KEPT = 2**25

Weigh = Callable[..., tuple[Tensor, ...]]  # (rows (n, D), noise (n, K) or None, *shared) to rows (n, …) and scalars


def by_blocks(
    weigh: Weigh, features: Tensor, num_codes: int, shared: Sequence[Tensor], noisy: bool
) -> tuple[Tensor, ...]:
    """``weigh`` applied to ``features`` (N, D) by blocks: rows (n, …) are put together, scalars are added up.

    ``weigh`` gets some features (n, D) and, if ``noisy``, Gumbel noise (n, num_codes), which is keyed by the features'
    place in the global batch, then ``shared``: all other tensors that want a gradient. It must draw no random numbers
    of its own. Blocks small enough for a processor's cache take a third of the time of whole matrices there.
    """
    if len(features) * num_codes > KEPT:
        recomputed: Callable[..., tuple[Tensor, ...]] = _Recomputed.apply
        return recomputed(weigh, num_codes, noisy, features, *shared)
    parts = [weigh(features[own], noise, *shared) for own, noise in _blocks(features, num_codes, noisy)]
    return tuple(torch.cat(each) if each[0].ndim else torch.stack(each).sum() for each in zip(*parts, strict=True))


def _blocks(features: Tensor, num_codes: int, noisy: bool) -> Iterator[tuple[slice, Tensor | None]]:
    """Where each block of this rank's features stands, and its noise; cut from the global batch: ranks draw alike."""
    start, total = shard(len(features))
    size = max(1, codes.BLOCK // 4 // num_codes)  # several matrices of this size are in use at once
    for left in range(0, total, size):
        count = min(size, total - left)
        uniform = torch.rand(count, num_codes, device=features.device) if noisy else None
        first, last = max(left, start), min(left + count, start + len(features))
        if first < last:
            noise = None if uniform is None else to_gumbel(uniform[first - left : last - left])
            yield slice(first - start, last - start), noise


class _Recomputed(torch.autograd.Function):
    """The same, with nothing kept but the results: backward draws the noise and weighs the codes a second time."""

    @staticmethod
    def forward(ctx: Any, weigh: Weigh, num_codes: int, noisy: bool, features: Tensor, *shared: Tensor) -> Any:
        ctx.how, ctx.state = (weigh, num_codes, noisy), _generator_state(features.device)
        ctx.save_for_backward(features, *shared)
        results: list[Tensor] = []
        for own, noise in _blocks(features, num_codes, noisy):
            found = weigh(features[own], noise, *shared)
            if not results:  # all at once: small results between the blocks would scatter the heap
                results = [f.new_zeros((len(features), *f.shape[1:]) if f.ndim else ()) for f in found]
            for result, f in zip(results, found, strict=True):
                (result[own] if f.ndim else result).add_(f)
        ctx.mark_non_differentiable(*(result for result in results if not result.is_floating_point()))
        return tuple(results)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Any:
        features, *shared = ctx.saved_tensors
        weigh, num_codes, noisy = ctx.how
        leaves = [tensor.detach().requires_grad_() for tensor in shared]
        gradient = torch.empty_like(features)
        devices = [features.device] if features.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.enable_grad():
            _set_generator_state(ctx.state, features.device)
            for own, noise in _blocks(features, num_codes, noisy):
                rows = features[own].detach().requires_grad_()
                found = [f for f in zip(weigh(rows, noise, *leaves), upstream, strict=True) if f[0].requires_grad]
                torch.autograd.backward([f for f, _ in found], [u[own] if f.ndim else u for f, u in found])
                gradient[own] = rows.grad
                del rows, found
        return None, None, None, gradient, *(leaf.grad for leaf in leaves)


def _generator_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_generator_state(state: Tensor, device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
