"""Compute one update that several ranks share, each with a part of the batch.

A rank computes on its own images, but the whole batch decides an update: its gradients, the norms that weigh its
losses, the statistics of the discriminator's batch norms. Every rank then takes the same step, so that weights stay
equal without being copied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqbench.distributed.collectives import (
    all_mean,
    all_sum,
    group_size,
    shard,
    sum_or_first,
    weight,
    world_size,
)


def mean(values: Tensor) -> Tensor:
    """Return means over the batch of means over ranks, without a gradient."""
    return all_sum(values * weight()) if world_size() > 1 else values.detach()


def share(loss: Tensor) -> Tensor:
    """Return what a rank's mean ``loss`` contributes to the mean over the batch.

    Gradients of it, added up over the ranks, are those of the batch's loss, also where a part of it was exchanged.
    """
    return loss * weight() if world_size() > 1 else loss


def sum_gradients(module: nn.Module) -> None:
    """Replace the gradients of ``module`` by their sums over ranks, in one exchange.

    A parameter that has a gradient on some ranks has one on all afterwards; without any, it keeps none, so that an
    optimizer leaves it alone as it would on one device. Gradients of a batch that every rank computed as a whole are
    those of rank 0. All ranks must have the same trainable parameters.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    if group_size() == 1 or not trained:
        return
    counts = trained[0].new_ones(len(trained))  # of the ranks that have a gradient of each
    parts = []
    for number, parameter in enumerate(trained):
        if parameter.grad is None:
            counts[number] = 0
        parts.append((torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).flatten())
    *sums, counts = sum_or_first(torch.cat([*parts, counts])).split([*map(len, parts), len(trained)])
    for parameter, total, count in zip(trained, sums, counts, strict=True):
        if parameter.grad is not None:
            parameter.grad.copy_(total.view_as(parameter))
        elif count > 0:  # waits for the device, but only where a parameter was not used here
            parameter.grad = total.view_as(parameter).to(parameter.dtype, copy=True)


class BatchNorm(nn.BatchNorm2d):
    """Batch norm by the statistics of the global batch.

    The ranks exchange means. Unlike SyncBatchNorm it runs on CPUs too, and is twice differentiable, as R1 needs. On one
    rank it is torch's own.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        mean = all_mean(x.float().mean((0, 2, 3)))  # (channels,)
        centred = x.float() - mean[:, None, None]
        variance = all_mean(centred.square().mean((0, 2, 3)))
        _, count = shard(x.numel() // x.shape[1])
        self._remember(mean.detach(), variance.detach(), count)
        normal = centred * (variance + self.eps).rsqrt()[:, None, None]
        return (normal * self.weight[:, None, None] + self.bias[:, None, None]).to(x.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics by ``count`` numbers per channel, as torch does."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
