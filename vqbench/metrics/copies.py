"""Whether generated pictures are copies of training pictures."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.metric import SampleMetric, Samples
from vqbench.neighbours import TOGETHER, kth_distance, nearest
from vqbench.protocol import MeasureProtocol

SIDE = 32  # larger pictures are compared at this one: by the mean of each area


class Copies(SampleMetric):
    """Share of samples, in percent, that are nearer to a training picture than that one is to any other.

    The nearest training picture of each sample (the first of equally near ones) by Euclidean distance of pixels, at
    32x32 at most; what is left of 100 is the paper's authenticity, there in the features of a network. A generator that
    repeats its training pictures comes near 100. Fresh pictures of the same source do not come to 0 (30 for the test
    split of Fashion-MNIST 5k), so it is a comparison, not a verdict. All training pictures are gone through twice, a
    piece at a time.
    """

    label = "Copies"
    VERSION = 2  # of training pictures that are equally near, the first
    unit = "%"
    better = "min"
    digits = 1
    knobs = ()  # it looks at the samples as they were made
    reference = "Alaa et al., How Faithful is your Synthetic Data?, ICML 2022, arXiv 2102.08921"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ()

    def measure(self, samples: Samples) -> float:
        flat = partial(_flat, device=self.context.device)
        made = torch.cat([flat(piece) for piece in samples.pictures.split(TOGETHER)])  # (N, D)
        distances, places = nearest(made, map(flat, samples.learned()))  # (N,) each
        chosen, which = places.unique(return_inverse=True)  # (U,), (N,)
        originals = torch.cat([flat(piece) for piece in samples.learned(chosen)])  # (U, D)
        among = kth_distance(originals, map(flat, samples.learned()), 2)  # (U,); the first is the picture itself
        return 100 * float((distances < among[which]).double().mean())


def _flat(levels: Tensor, device: torch.device) -> Tensor:
    """Pictures (N, C, S, S) uint8 as vectors (N, D) float32 on ``device``."""
    pictures = levels.to(device).float()
    if levels.shape[-1] > SIDE:
        pictures = F.interpolate(pictures, size=(SIDE, SIDE), mode="area")
    return pictures.flatten(1)
