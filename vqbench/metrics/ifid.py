"""Interpolated FID: of images between each image and its nearest neighbour."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.errors import RunError
from vqbench.functional.precision import float32_products
from vqbench.images import as_measured
from vqbench.metric import TOGETHER, Batch
from vqbench.metrics._feature_distances import Moments, add_features, frechet_distance, moments, moments_in, zero_sums
from vqbench.metrics._reconstruction_features import MOST, FeatureMetric, select
from vqbench.networks import inception

NUMBERS = 2**27  # of all features that are kept: half a GiB


class InterpolatedFID(FeatureMetric):
    """Fréchet distance of originals and images between two latents.

    For each image of the test split, the features z of the encoder and those of its nearest other image, by the angle
    between whole feature maps, are interpolated on the sphere half-way (slerp, t = 0.5), quantized, decoded, and
    compared with the originals as rFID compares reconstructions, under the same protocol (Xu et al. 2026). At least 0;
    lower is better.

    Angle, slerp and t are the defaults of the authors' code (tongdaxu/Making-rFID-Predictive-of-Diffusion-gFID).
    Differs from it: the nearest image itself, as the paper writes, not one drawn from the nearest 10; neighbours are
    searched among the test images, not among the training images; and interpolated features are quantized, since
    decoders here get codes: it is made for continuous latents, which it measures where nothing is quantized.

    Of more images than 10,000, or than 2^27 numbers of features allow, the first ones count. All are interpolated at
    the end, on one device. RunError for fewer than 2 images.
    """

    label = "iFID"
    better = "min"
    digits = 2
    few = inception.DIM
    fewest = 2
    reference = "Xu et al., Making Reconstruction FID Predictive of Diffusion Generation FID, arXiv 2603.05630"
    needs_model = True
    share: ClassVar[float] = 0.5  # t, of the way to the neighbour

    def reset(self) -> None:
        shape = self.context.latent_shape
        if shape is None:
            self.state = {}
            return
        numbers = shape[0] * shape[1] * shape[2]
        self.images = min(MOST, max(2, NUMBERS // numbers))
        # By position in the test split: a rank has zeros where another one has features, so that states add up.
        self.state = {"features": torch.zeros(self.images, numbers), "seen": torch.zeros(self.images)}
        self.state |= zero_sums("originals")

    def update(self, batch: Batch) -> None:
        if not self.state or batch.latents is None:
            return
        batch = select(batch, batch.index < self.images)
        if len(batch.index) == 0 or batch.latents is None:
            return
        self.state["features"][batch.index] = batch.latents.features.flatten(1).float().cpu()
        self.state["seen"][batch.index] += 1
        add_features(self.state, "originals", self.features_of_originals(batch))

    def compute(self) -> float | None:
        if not self.state:
            return None
        z = self.state["features"][self.state["seen"] > 0].to(self.context.device)  # (N, dim·h·w)
        if len(z) < self.fewest:
            raise RunError(f"iFID needs at least 2 images, for neighbours, and was given {len(z)}")
        self.originals.save()
        between = slerp(z, z[nearest_by_angle(z)], self.share)
        return frechet_distance(self.context.protocol, moments_in(self.state, "originals"), self._moments(between))

    @torch.no_grad()
    def _moments(self, features: Tensor) -> Moments:
        """Return the moments of the images that ``features`` (N, dim·h·w) become.

        They are quantized and decoded.
        """
        model, shape = self.context.model, self.context.latent_shape
        if model is None or shape is None:
            raise RunError("iFID needs the model of a run, and these images came without one")
        parts = []
        for some in features.unflatten(1, shape).split(TOGETHER):
            images = model.backbone.decode(model.quantize_features(some).z_q)
            parts.append(self.features_of_images(as_measured(images.float(), self.context.protocol)))
        return moments(torch.cat(parts))


def nearest_by_angle(rows: Tensor) -> Tensor:
    """Return the position (N,) of the row at the smallest angle to each other one.

    ``rows`` are (N, D).
    """
    unit, nearest = F.normalize(rows, dim=1), []
    with float32_products():
        for start in range(0, len(rows), TOGETHER):
            cosines = unit[start : start + TOGETHER] @ unit.T  # (n, N)
            own = torch.arange(len(cosines), device=rows.device)
            cosines[own, own + start] = -torch.inf
            nearest.append(cosines.argmax(1))
    return torch.cat(nearest)


def slerp(first: Tensor, second: Tensor, share: float) -> Tensor:
    """Interpolate rows (N, D) along the arc between them.

    sin((1−t)θ)/sin θ · a + sin(tθ)/sin θ · b, where θ is the angle between a and b, t the ``share`` of the way to b. On
    a line where the sine is below 1e-6.
    """
    cosine = (F.normalize(first, dim=1) * F.normalize(second, dim=1)).sum(1, keepdim=True).clamp(-1, 1)
    angle = cosine.acos()  # (N, 1)
    sine = angle.sin()
    arc = (((1 - share) * angle).sin() * first + (share * angle).sin() * second) / sine.clamp_min(1e-6)
    return torch.where(sine < 1e-6, (1 - share) * first + share * second, arc)
