"""The reconstruction loss: pixels, and features of VGG16."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.networks.perceptual import SMALLEST, layer_distances, lpips_distance, network
from vqbench.training.engine import Engine


class Reconstruction:
    """l1·mean|x̂ − x| + l2·mean(x̂ − x)² + perceptual·d(x̂, x), of images in [-1, 1].

    d is LPIPS on VGG16 where ``semantic`` is None. Otherwise it is SeQ-GAN's α·d_5 + (1 − α)·(d_1 + … + d_5) with
    α = ``semantic``, d_l the mean squared difference of the features after relu 1_2, 2_2, 3_3, 4_3 and 5_3 (Gu et al.,
    CVPR 2024, arXiv 2212.03185). Its semantic part also has the classifier's logits, which are not among our weights.
    Raises AssetError without the weights, unless ``perceptual`` is 0.
    """

    def __init__(self, engine: Engine, l1: float, l2: float, perceptual: float, semantic: float | None) -> None:
        self.engine, self.l1, self.l2, self.perceptual, self.semantic = engine, l1, l2, perceptual, semantic
        self.net = network("vgg", engine.device) if perceptual else None

    def __call__(self, images: Tensor, originals: Tensor) -> Tensor:
        """(B,): the loss of each image."""
        difference = (images - originals).flatten(1)
        loss = self.l1 * difference.abs().mean(1) + self.l2 * difference.square().mean(1)
        return loss + self.perceptual * self._distance(images, originals) if self.net is not None else loss

    def _distance(self, images: Tensor, originals: Tensor) -> Tensor:
        if min(images.shape[2:]) < SMALLEST["vgg"]:
            side = SMALLEST["vgg"]
            raise RunError(f"the perceptual loss needs images of at least {side}x{side} pixels; set perceptual to 0")
        distance = lpips_distance if self.semantic is None else partial(self._mixed, share=self.semantic)
        with self.engine.autocast():
            return distance(self.net, images, originals)

    @staticmethod
    def _mixed(net: object, images: Tensor, originals: Tensor, share: float) -> Tensor:
        layers = layer_distances(net, images, originals)
        return share * layers[-1] + (1 - share) * layers.sum(0)

    def gradient(self, images: Tensor, originals: Tensor, parts: int = 1) -> tuple[Tensor, Tensor]:
        """The mean loss () of the batch and its gradient at ``images``, computed in ``parts``; no graph is left."""
        gradients: list[Tensor] = []
        total = torch.zeros((), device=images.device)
        for x_hat, x in zip(images.chunk(parts), originals.chunk(parts), strict=True):
            x_hat = x_hat.detach().requires_grad_()
            loss = self(x_hat, x).sum() / len(images)
            gradients += torch.autograd.grad(loss, x_hat)
            total += loss.detach()
        return total, torch.cat(gradients)
