"""Several devices: sums over the ranks, and random draws that agree on all of them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

_evaluations = 0  # entered and not left
_images: int | None = None  # of the batch that the ranks share, where a recipe has said so


class WholeBatch:
    """A context in which this rank is the only one: in evaluation, where ranks may hold unequally many images."""

    def __enter__(self) -> None:
        global _evaluations
        _evaluations += 1

    def __exit__(self, *error: object) -> None:
        global _evaluations
        _evaluations -= 1


def world_size() -> int:
    """The number of ranks that share a step; 1 without a process group, and within ``WholeBatch``."""
    if _evaluations:
        return 1
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def part(count: int, rank: int, size: int) -> slice:
    """Which of ``count`` images a rank holds: all ranks together each once, in order, none more than one beyond."""
    return slice(count * rank // size, count * (rank + 1) // size)


class SharedBatch:
    """A context in which the ranks share a batch of ``count`` images, at least one each, as :func:`part` says.

    Without it they are taken to hold equally many.
    """

    def __init__(self, count: int) -> None:
        self.count = count

    def __enter__(self) -> None:
        global _images
        self.before, _images = _images, self.count

    def __exit__(self, *error: object) -> None:
        global _images
        _images = self.before


def _parts() -> list[tuple[int, int]]:
    """Where each rank's images begin in the batch, and how many they are; one each if nobody has said."""
    size = world_size()
    parts = [part(_images or size, rank, size) for rank in range(size)]
    return [(each.start, each.stop - each.start) for each in parts]


def shard(n: int) -> tuple[int, int]:
    """Where this rank's ``n`` features begin in the global batch, and how many that has."""
    if world_size() == 1:
        return 0, n
    parts = _parts()
    first, images = parts[dist.get_rank()]
    positions = n // images
    return first * positions, sum(count for _, count in parts) * positions


def weight() -> float:
    """This rank's share of the batch's images: means over a rank's features add up to the batch's, so weighted."""
    if world_size() == 1:
        return 1.0
    parts = _parts()
    return parts[dist.get_rank()][1] / sum(count for _, count in parts)


def all_sum(values: Tensor) -> Tensor:
    """The sum of ``values`` over the ranks, without a gradient."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def all_mean(value: Tensor) -> Tensor:
    """The mean over the batch of what ``value`` is a mean of on each rank, with a gradient.

    For means inside a logarithm or an entropy. Ranks count by their images, so it is exact for unequal parts.
    """
    if world_size() == 1:
        return value
    from torch.distributed.nn.functional import all_reduce

    mean: Tensor = all_reduce(value * weight())
    return mean


def all_gather(values: Tensor) -> Tensor:
    """The ``values`` (n, …) of all ranks, (world size · n, …), in the order of the ranks, without a gradient.

    Every rank must have equally many; for rows that go with the features there is :func:`gather_rows`.
    """
    if world_size() == 1:
        return values
    gathered = [torch.empty_like(values) for _ in range(world_size())]
    dist.all_gather(gathered, values.contiguous())
    return torch.cat(gathered)


def gather_rows(rows: Tensor) -> Tensor:
    """The ``rows`` (n, D) of this rank's features with those of all others, in the order of the batch: (N, D).

    The whole batch on every rank: only where its order decides, and no sum over the ranks will do.
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
    """This rank's part of ``rows`` (K, …) that all ranks have, to divide the work on them; all, where they are few."""
    size = world_size()
    return rows if len(rows) < size or size == 1 else rows[part(len(rows), dist.get_rank(), size)]


def put_together(rows: Tensor, count: int) -> Tensor:
    """What all ranks made of their :func:`own_rows` of ``count``, (count, …): the inverse."""
    if len(rows) == count:
        return rows
    with SharedBatch(count):
        return gather_rows(rows)


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
