"""The reconstruction loss: pixels, and features of VGG16."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.networks.perceptual import SMALLEST, layer_distances, lpips_distance, network
from vqbench.training.engine import Engine


@dataclass(frozen=True)
class ReconstructionWeights:
    """The factors of the parts of a reconstruction loss; see :class:`Reconstruction`."""

    l1: float
    l2: float
    perceptual: float
    semantic: float | None = None  # SeQ-GAN's α in [0, 1]; None: LPIPS

    @property
    def needs_vgg(self) -> bool:
        """Whether features of VGG16 are compared."""
        return bool(self.perceptual or self.semantic)


class Reconstruction:
    """l1·mean|x̂ − x| + l2·mean(x̂ − x)² + perceptual·d(x̂, x), of images in [-1, 1].

    d is LPIPS on VGG16 where ``semantic`` is None. Otherwise it is SeQ-GAN's α·d_5 + (1 − α)·(d_1 + … + d_5) with
    α = ``semantic``, d_l the mean squared difference of the features after relu 1_2, 2_2, 3_3, 4_3 and 5_3 (Gu et al.,
    CVPR 2024, arXiv 2212.03185). Its semantic part also has the classifier's logits, which are not among our weights.
    Raises AssetError without the weights of VGG16, unless ``perceptual`` is 0.
    """

    def __init__(self, engine: Engine, weights: ReconstructionWeights) -> None:
        self.engine, self.weights = engine, weights
        self.net = network("vgg", engine.device) if weights.perceptual else None

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        """Return the loss of each image, (B,), given reconstructions and originals (B, C, S, S)."""
        difference = (images - originals).flatten(1)
        loss = self.weights.l1 * difference.abs().mean(1) + self.weights.l2 * difference.square().mean(1)
        return loss + self.weights.perceptual * self._distance(images, originals) if self.net is not None else loss

    def _distance(self, images: Tensor, originals: Tensor) -> Tensor:
        if min(images.shape[2:]) < SMALLEST["vgg"]:
            side = SMALLEST["vgg"]
            raise RunError(f"the perceptual loss needs images of at least {side}x{side} pixels; set perceptual to 0")
        semantic = self.weights.semantic
        distance = lpips_distance if semantic is None else partial(self._mixed, share=semantic)
        with self.engine.autocast():
            return distance(self.net, images, originals)

    @staticmethod
    def _mixed(net: object, images: Tensor, originals: Tensor, share: float) -> Tensor:
        layers = layer_distances(net, images, originals)
        return share * layers[-1] + (1 - share) * layers.sum(0)

    def gradient(self, images: Tensor, originals: Tensor, parts: int = 1) -> tuple[Tensor, Tensor]:
        """Return the mean loss () and its gradient at ``images`` (B, C, S, S), computed in ``parts``; frees graphs."""
        gradients: list[Tensor] = []
        total = torch.zeros((), device=images.device)
        for x_hat, x in zip(images.chunk(parts), originals.chunk(parts), strict=True):
            x_hat = x_hat.detach().requires_grad_()
            loss = self(x_hat, x).sum() / len(images)
            gradients += torch.autograd.grad(loss, x_hat)
            total += loss.detach()
        return total, torch.cat(gradients)
