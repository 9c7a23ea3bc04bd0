"""Autoencoders with a few weights, and test splits, for tests of metrics that need the model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqbench import registry
from vqbench.assets.content import digest_of_arrays
from vqbench.backbone import Autoencoder

DIM, CODES = 4, 16


class TestImages:
    """The data set of given images, (N, C, S, S) uint8, as far as an evaluator uses it."""

    __test__ = False

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def pixels(self, split: str) -> Tensor:
        return self.images

    def digest(self, split: str) -> str:
        return digest_of_arrays({"images": self.images.numpy()})


def greys(count: int) -> Tensor:
    """The first test images of Fashion-MNIST, (count, 1, 28, 28) uint8."""
    return registry.load("datasets", "fashion_mnist_5k")().pixels("test")[:count]


def autoencoder(quantizer: str = "vq", **args: Any) -> Autoencoder:
    """An untrained model of a small backbone, whose codebook has features of the first images as its codes."""
    torch.manual_seed(0)
    backbone = registry.create("backbones", "conv", channels=1, dim=DIM, hidden=8, residual_hidden=4)
    model = Autoencoder(backbone, registry.create("quantizers", quantizer, num_codes=CODES, dim=DIM, **args)).eval()
    codebook = getattr(model.quantizer, "codebook", None)
    if isinstance(codebook, torch.nn.Parameter):
        with torch.no_grad():
            features = model.backbone.encode(greys(8).float() / 127.5 - 1).movedim(1, -1).flatten(0, 2)
            codebook.copy_(features[torch.randperm(len(features))[: len(codebook)]])
    return model
