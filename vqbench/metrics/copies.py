"""Whether generated pictures are copies of training pictures."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.metric import SampleMetric, Samples
from vqbench.protocol import MeasureProtocol

SIDE = 32  # larger pictures are compared at this one: by the mean of each area
TOGETHER = 100  # samples whose distances to all training pictures are held at once


class Copies(SampleMetric):
    """Share of samples, in percent, that are nearer to a training picture than that one is to any other.

    The nearest training picture of each sample by Euclidean distance of pixels, at 32x32 at most; what is left of 100
    is the paper's authenticity, there in the features of a network. A generator that repeats its training pictures
    comes near 100. Fresh pictures of the same source do not come to 0 (30 for the test split of Fashion-MNIST 5k), so
    it is a comparison, not a verdict.
    """

    label = "Copies"
    unit = "%"
    better = "min"
    digits = 1
    knobs = ()  # it looks at the samples as they were made
    reference = "Alaa et al., How Faithful is your Synthetic Data?, ICML 2022, arXiv 2102.08921"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ()

    def measure(self, samples: Samples) -> float:
        made, training = _flat(samples.pictures), _flat(samples.training)  # (N, D), (T, D)
        distances, places = _nearest(made, training, 1)
        among, _ = _nearest(training[places], training, 2)  # the first is the picture itself
        return 100 * float((distances < among).double().mean())


def _flat(levels: Tensor) -> Tensor:
    """Pictures (N, C, S, S) uint8 as vectors (N, D) float32."""
    pictures = levels.float()
    if levels.shape[-1] > SIDE:
        pictures = F.interpolate(pictures, size=(SIDE, SIDE), mode="area")
    return pictures.flatten(1)


def _nearest(some: Tensor, everyone: Tensor, which: int) -> tuple[Tensor, Tensor]:
    """Of each of ``some`` (N, D): the distance to its nearest, or second nearest, of ``everyone``, and its position."""
    found = [
        torch.cdist(part, everyone, compute_mode="donot_use_mm_for_euclid_dist").kthvalue(which, dim=1)
        for part in some.split(TOGETHER)
    ]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
