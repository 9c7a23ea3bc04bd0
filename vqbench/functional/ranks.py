"""Several devices: sums over the ranks, and random draws that agree on all of them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

_evaluations = 0  # entered and not left


class Alone:
    """A context in which this rank is the only one: in evaluation, where ranks may hold unequally many pictures."""

    def __enter__(self) -> None:
        global _evaluations
        _evaluations += 1

    def __exit__(self, *error: object) -> None:
        global _evaluations
        _evaluations -= 1


def world_size() -> int:
    """The number of ranks that share a step; 1 without a process group, and within ``Alone``."""
    if _evaluations:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shard(n: int) -> tuple[int, int]:
    """Where this rank's ``n`` features begin in the global batch, and how many that has."""
    return (0, n) if world_size() == 1 else (dist.get_rank() * n, world_size() * n)


def all_sum(values: Tensor) -> Tensor:
    """The sum of ``values`` over the ranks, without a gradient."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def all_mean(value: Tensor) -> Tensor:
    """The mean of ``value`` over the ranks, with a gradient: for means inside a logarithm or an entropy."""
    if world_size() == 1:
        return value
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(value) / world_size()


def all_gather(values: Tensor) -> Tensor:
    """The ``values`` (n, …) of all ranks, (world size · n, …), in the order of the ranks, without a gradient."""
    if world_size() == 1:
        return values
    gathered = values.new_empty((world_size() * values.shape[0], *values.shape[1:]))
    dist.all_gather_into_tensor(gathered, values.contiguous())
    return gathered


def shared_uniform(*shape: int, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1), the same on all ranks, whose generators the recipe seeds alike for every step."""
    return torch.rand(shape, device=device)


def shared_normal(*shape: int, device: torch.device) -> Tensor:
    """Standard normal numbers, the same on all ranks."""
    return torch.randn(shape, device=device)


def shared_integers(high: int, *shape: int, device: torch.device) -> Tensor:
    """Uniform integers in [0, high), the same on all ranks."""
    return torch.randint(high, shape, device=device)


def shared_permutation(n: int, device: torch.device) -> Tensor:
    """A random order of 0 … n−1, the same on all ranks."""
    return torch.randperm(n, device=device)


def feature_uniform(n: int, *shape: int, device: torch.device) -> Tensor:
    """Uniform numbers (n, *shape) for this rank's features, keyed by their place in the global batch.

    Drawn for the whole global batch, of which the own part is kept: the same numbers however many ranks share them.
    """
    start, total = shard(n)
    return torch.rand((total, *shape), device=device)[start : start + n]


def gumbel(n: int, num_codes: int, device: torch.device) -> Tensor:
    """Gumbel noise (n, num_codes), keyed like ``feature_uniform``."""
    return to_gumbel(feature_uniform(n, num_codes, device=device))


def to_gumbel(uniform: Tensor) -> Tensor:
    """−ln(−ln(U + 1e-10) + 1e-10) of uniform numbers, in their place: a new matrix costs more than the logarithm."""
    return uniform.add_(1e-10).log_().neg_().add_(1e-10).log_().neg_()
