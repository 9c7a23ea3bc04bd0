"""Whether generated images are copies of training images."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.functional.neighbours import nearest
from vqbench.metric import TOGETHER, SampleMetric, Samples
from vqbench.protocol import MeasureProtocol

SIDE = 32  # larger images are compared at this one: by the mean of each area


class Copies(SampleMetric):
    """Share of samples, in percent, that are nearer to a training image than that one is to any other.

    The nearest training image of each sample (the first of equally near ones) by Euclidean distance of pixels, at
    32x32 at most; what is left of 100 is the paper's authenticity, there in the features of a network. Where the
    generator learned from mirror images as well, both distances are the smaller ones to a training image and to its
    mirror image; an image's own mirror image is no other image.

    A generator that repeats its training images comes near 100. Fresh images of the same source do not come to 0
    (30 for the test split of Fashion-MNIST 5k), so it is a comparison, not a verdict. A copy of an image that is in
    the training split twice never counts, since that image is at distance 0 from another. All training images are
    gone through twice, a piece at a time.
    """

    label = "Copies"
    VERSION = 3  # of training images that are equally near, the first; with their mirror images
    unit = "%"
    better = "min"
    digits = 1
    knobs = ()  # it looks at the samples as they were made
    reference = "Alaa et al., How Faithful is your Synthetic Data?, ICML 2022, arXiv 2102.08921"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ()

    def measure(self, samples: Samples) -> float:
        # The distance to a mirror image is that of one's own mirror image: so no training image need be mirrored.
        small = partial(_small, device=self.context.device)
        views = partial(_views, mirrored=samples.mirrored)
        made = views(torch.cat([small(piece) for piece in samples.images.split(TOGETHER)]))  # (V, N, D)
        distances, places = nearest(made, (small(piece).flatten(1) for piece in samples.learned()))  # (N,) each
        chosen, which = places.unique(return_inverse=True)  # (U,), (N,)
        originals = views(torch.cat([small(piece) for piece in samples.learned(chosen)]))  # (V, U, D)
        among, _ = nearest(originals, (small(piece).flatten(1) for piece in samples.learned()), excluded=chosen)  # (U,)
        return 100 * float((distances < among[which]).double().mean())


def _small(levels: Tensor, device: torch.device) -> Tensor:
    """Images (N, C, S, S) uint8 as they are compared: (N, C, s, s) float32 on ``device``."""
    images = levels.to(device).float()
    if levels.shape[-1] > SIDE:
        images = F.interpolate(images, size=(SIDE, SIDE), mode="area")
    return images


def _views(images: Tensor, mirrored: bool) -> Tensor:
    """Images (N, C, s, s) as vectors (1, N, D), or (2, N, D) with those of their mirror images."""
    return torch.stack([images, images.flip(-1)] if mirrored else [images]).flatten(2)
