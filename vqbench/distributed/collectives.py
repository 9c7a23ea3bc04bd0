"""Exchange tensors between the ranks that share a batch, and draw random numbers.

Quantizers call these without a group, so they act on the process group that :func:`vqbench.distributed.group.join`, or
any other program, has set up for this process; without one every function returns what it was given. How the images of
the current batch lie on the ranks is said by one context at a time, :class:`SharedBatch` or :class:`WholeBatch`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.distributed as dist
from torch import Tensor


class _BatchContext:
    """A context that holds for one batch, within the one that held before."""

    def __enter__(self) -> None:
        global _current
        self._before, _current = _current, self

    def __exit__(self, *error: object) -> None:
        global _current
        _current = self._before


class WholeBatch(_BatchContext):
    """Compute whole batches on this rank alone, within this context.

    Nothing is exchanged, as in evaluation, where ranks may be out of step.
    """


class SharedBatch(_BatchContext):
    """Share a batch of ``count`` images between the ranks, within this context.

    :func:`rank_slice` divides it; every rank has at least one image. Without such a context, the ranks are taken to
    have equally many.
    """

    def __init__(self, count: int) -> None:
        self.count = count


_current: _BatchContext | None = None


def group_size() -> int:
    """Return the number of ranks in this process's group; 1 without a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def is_first_rank() -> bool:
    """Return whether this process is rank 0, or has no group."""
    return group_size() == 1 or dist.get_rank() == 0


def world_size() -> int:
    """Return the number of ranks that share the batch.

    It is 1 without a group, and within :class:`WholeBatch`.
    """
    return 1 if isinstance(_current, WholeBatch) else group_size()


def rank_slice(count: int, rank: int, size: int) -> slice:
    """Return which of ``count`` items are those of ``rank``.

    The parts of all ranks are consecutive and have each item once; their lengths differ by at most one.
    """
    return slice(count * rank // size, count * (rank + 1) // size)


def _parts() -> list[tuple[int, int]]:
    """Return the first image and the number of images of each rank.

    Without a :class:`SharedBatch`, each rank counts as one image.
    """
    size = world_size()
    count = _current.count if isinstance(_current, SharedBatch) else size
    parts = [rank_slice(count, rank, size) for rank in range(size)]
    return [(each.start, each.stop - each.start) for each in parts]


def shard(n: int) -> tuple[int, int]:
    """Return where this rank's ``n`` features begin in the batch, and its size."""
    if world_size() == 1:
        return 0, n
    parts = _parts()
    first, images = parts[dist.get_rank()]
    positions = n // images
    return first * positions, sum(count for _, count in parts) * positions


def weight() -> float:
    """Return this rank's share of the batch's images, in (0, 1].

    Means over the features of each rank, times this weight, add up to the mean over the batch.
    """
    if world_size() == 1:
        return 1.0
    parts = _parts()
    return parts[dist.get_rank()][1] / sum(count for _, count in parts)


def all_sum(values: Tensor) -> Tensor:
    """Return the sum of ``values`` over the ranks, without a gradient."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


class _RankSum(torch.autograd.Function):
    """The sum over the ranks, with a gradient.

    The loss of every rank depends on the values of all, so that a value's gradient is a sum over the ranks as well.
    """

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        total = value.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return _rank_sum(gradient)


_rank_sum: Callable[[Tensor], Tensor] = _RankSum.apply


def all_mean(value: Tensor) -> Tensor:
    """Return the mean over the batch of means over ranks, with a gradient.

    For means inside a logarithm or an entropy. Ranks count by their images, so it is exact for unequal parts.
    """
    if world_size() == 1:
        return value
    return _rank_sum(value * weight())


def all_gather(values: Tensor) -> Tensor:
    """Return the ``values`` (n, …) of all ranks, (world size · n, …), in their order.

    They have no gradient. Every rank must have equally many; for rows that belong to features use :func:`gather_rows`.
    """
    if world_size() == 1:
        return values
    gathered = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(gathered, values.contiguous())
    return torch.cat(gathered)


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows (N, D) of the whole batch from ``rows`` (n, D) of each rank.

    They are in the order of the batch. Every rank receives all of them: use it only where its order decides, and no sum
    over the ranks will do.
    """
    if world_size() == 1:
        return rows
    parts = _parts()
    positions = len(rows) // parts[dist.get_rank()][1]
    most = max(count for _, count in parts) * positions
    padded = torch.cat([rows, rows.new_zeros(most - len(rows), *rows.shape[1:])])
    whole = all_gather(padded).split(most)
    return torch.cat([each[: count * positions] for each, (_, count) in zip(whole, parts, strict=True)])


def own_rows(rows: Tensor) -> Tensor:
    """Return this rank's part of ``rows`` (K, …) that all ranks have, to divide work.

    Fewer rows than ranks are not divided: every rank gets all.
    """
    size = world_size()
    return rows if len(rows) < size or size == 1 else rows[rank_slice(len(rows), dist.get_rank(), size)]


def put_together(rows: Tensor, count: int) -> Tensor:
    """Return all ``count`` rows from what each rank computed of :func:`own_rows`."""
    if len(rows) == count:
        return rows
    with SharedBatch(count):
        return gather_rows(rows)


def broadcast_tensors(tensors: Iterable[Tensor]) -> None:
    """Replace each of these tensors, in place, by that of rank 0.

    Tensors are exchanged within :class:`WholeBatch`, too.
    """
    if group_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, 0)


def sum_or_first(values: Tensor) -> Tensor:
    """Sum ``values`` over the ranks in place, and return them.

    Of a batch that every rank computed as a whole, they are those of rank 0.
    """
    if isinstance(_current, WholeBatch):
        broadcast_tensors([values])
    elif group_size() > 1:
        dist.all_reduce(values)
    return values


def shared_uniform(*shape: int, device: torch.device) -> Tensor:
    """Draw uniform numbers in [0, 1), the same on all ranks.

    They agree since recipes seed the generators of all ranks alike for every step.
    """
    return torch.rand(shape, device=device)


def shared_normal(*shape: int, device: torch.device) -> Tensor:
    """Draw standard normal numbers, the same on all ranks."""
    return torch.randn(shape, device=device)


def shared_integers(high: int, *shape: int, device: torch.device) -> Tensor:
    """Draw uniform integers in [0, high), the same on all ranks."""
    return torch.randint(high, shape, device=device)


def shared_permutation(n: int, device: torch.device) -> Tensor:
    """Draw a random order of 0 … n−1, the same on all ranks."""
    return torch.randperm(n, device=device)


def feature_uniform(n: int, *shape: int, device: torch.device) -> Tensor:
    """Draw uniform numbers (n, *shape) for this rank's features.

    They are keyed by the features' place in the global batch: they are drawn for the whole global batch, of which the
    own part is kept, so that a feature has the same numbers however many ranks share the batch.
    """
    start, total = shard(n)
    return torch.rand((total, *shape), device=device)[start : start + n]


def feature_normal(n: int, *shape: int, device: torch.device) -> Tensor:
    """Draw standard normal numbers (n, *shape), keyed like ``feature_uniform``."""
    start, total = shard(n)
    return torch.randn((total, *shape), device=device)[start : start + n]


def gumbel(n: int, num_codes: int, device: torch.device) -> Tensor:
    """Draw Gumbel noise (n, num_codes), keyed like ``feature_uniform``."""
    return to_gumbel(feature_uniform(n, num_codes, device=device))


def to_gumbel(uniform: Tensor) -> Tensor:
    """Turn uniform numbers U into Gumbel noise −ln(−ln(U + 1e-10) + 1e-10), in place.

    In place, since a new matrix costs more than the logarithm.
    """
    return uniform.add_(1e-10).log_().neg_().add_(1e-10).log_().neg_()
