"""An update that several ranks share, each with a part of the batch.

What a rank computes is of its own images; what decides an update is of all: gradients, the norms that weigh the
losses, the statistics of the discriminator's batch norms. Every rank then takes the same step, so that weights stay
equal without ever being copied.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqbench.distributed.collectives import all_mean, all_sum, shard, weight, world_size


def mean(values: Tensor) -> Tensor:
    """Means over each rank's images as the mean over the batch, on all ranks, without a gradient."""
    return all_sum(values * weight()) if world_size() > 1 else values.detach()


def share(loss: Tensor) -> Tensor:
    """What a rank's ``loss``, a mean over its images, adds to the mean over the batch.

    Gradients of this, added up over the ranks, are those of the batch's loss, also where some of it was exchanged.
    """
    return loss * weight() if world_size() > 1 else loss


def sum_gradients(module: nn.Module) -> None:
    """Put the sum over the ranks in the place of every gradient, in one exchange."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    if world_size() == 1 or not gradients:
        return
    whole = all_sum(torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, whole.split([each.numel() for each in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


class BatchNorm(nn.BatchNorm2d):
    """Batch norm by the statistics of the global batch, from means that all ranks exchange; alone it is torch's own.

    On any device, where SyncBatchNorm refuses CPUs, and twice differentiable, as R1 needs.
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
        """Move the running statistics, the variance without bias, as torch does; ``count`` numbers a channel."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)
