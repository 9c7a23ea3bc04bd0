"""Whether generated images are copies of training images."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench.functional.neighbours import nearest
from vqbench.metric import TOGETHER, SampleMetric, Samples
from vqbench.protocol import MeasureProtocol

SIDE = 32  # larger images are reduced to it, by the mean of each area


class Copies(SampleMetric):
    """Share of samples that are near copies of a training image, in percent.

    A copy is nearer to a training image than that one is to any other:
    100 / N · |{y : |y - x(y)| < min over x' other than x(y) of |x(y) - x'|}|, with the nearest training image x(y) of
    each sample y (the first of equally near ones), by Euclidean distance of pixels at 32x32 at most. In [0, 100]; lower
    is better. 100 less this is the authenticity of Alaa et al., who compute it on the features of a network. For a
    generator that was also trained on mirror images, both distances are the smaller of those to a training image and
    to its mirror image; an image's own mirror image is no other image.

    A generator that repeats its training images reaches about 100. Fresh images of the same source do not reach 0
    (30 for the test split of Fashion-MNIST 5k), so compare values; a single one is no verdict. A copy of an image that
    is in the training split twice never counts, since that image is at distance 0 from another. All training images
    are read twice, in pieces.
    """

    label = "Copies"
    VERSION = 3  # since 3: the first of equally near training images, and their mirror images
    unit = "%"
    better = "min"
    digits = 1
    needs_training = True
    knobs = ()  # depends on the samples as they were generated
    reference = "Alaa et al., How Faithful is your Synthetic Data?, ICML 2022, arXiv 2102.08921"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ()

    def measure(self, samples: Samples) -> float:
        # Mirroring the sample instead of the training image gives the same distance, and samples are fewer.
        small = partial(_small, device=self.context.device)
        views = partial(_views, mirrored=samples.mirrored)
        generated = views(torch.cat([small(piece) for piece in samples.images.split(TOGETHER)]))  # (V, N, D)
        distances, places = nearest(generated, (small(piece).flatten(1) for piece in samples.learned()))  # (N,) each
        chosen, which = places.unique(return_inverse=True)  # (U,), (N,)
        originals = views(torch.cat([small(piece) for piece in samples.learned(chosen)]))  # (V, U, D)
        among, _ = nearest(originals, (small(piece).flatten(1) for piece in samples.learned()), excluded=chosen)  # (U,)
        return 100 * float((distances < among[which]).double().mean())


def _small(levels: Tensor, device: torch.device) -> Tensor:
    """Reduce images (N, C, S, S) uint8 to (N, C, s, s) float32, s <= 32."""
    images = levels.to(device).float()
    if levels.shape[-1] > SIDE:
        images = F.interpolate(images, size=(SIDE, SIDE), mode="area")
    return images


def _views(images: Tensor, mirrored: bool) -> Tensor:
    """Flatten images to (1, N, D), or (2, N, D) with their mirror images."""
    return torch.stack([images, images.flip(-1)] if mirrored else [images]).flatten(2)
