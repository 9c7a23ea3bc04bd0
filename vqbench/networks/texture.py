"""The network of DISTS: VGG16 without aliasing, and its maps compared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench import assets

ASSETS = ("vgg16_lpips", "dists")  # names in the catalogue of weights
SMALLEST = 16  # side in pixels of images whose last map, 1x1, is of the whole image
STAGES = (
    (0, 2),
    (5, 7),
    (10, 12, 14),
    (17, 19, 21),
    (24, 26, 28),
)  # convolutions, by their places in torchvision's net
CHANNELS = (3, 64, 128, 256, 512, 512)  # of the image and the last map of each stage
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the images that VGG16 was trained on
SMALL = 1e-6  # c1 and c2 of both similarities


class TextureNetwork(nn.Module):
    """VGG16 with L2 pooling in place of max pooling, and weights of channels.

    Args:
        trunk: ``features.N.weight`` and ``features.N.bias`` of torchvision's VGG16.
        heads: ``alpha`` and ``beta``, (1, 1475, 1, 1), of which all 2,950 sum to one after division by their sum.
    """

    def __init__(self, trunk: Mapping[str, Tensor], heads: Mapping[str, Tensor]) -> None:
        super().__init__()
        for name, value in trunk.items():
            self.register_buffer(name.replace(".", "_"), value)
        window = torch.hann_window(5, periodic=False)[1:-1]  # (3,)
        taps = window[:, None] * window
        self.register_buffer("taps", taps / taps.sum())
        for name, values in (("mean", MEAN), ("std", STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1))
        total = heads["alpha"].sum() + heads["beta"].sum()
        self.register_buffer("alpha", heads["alpha"].flatten() / total)
        self.register_buffer("beta", heads["beta"].flatten() / total)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Compute the maps of images (B, 3, H, W) in [0, 1].

        The first of them is the images themselves.
        """
        x = (images - self.get_buffer("mean")) / self.get_buffer("std")
        maps = [images]
        for stage, places in enumerate(STAGES):
            if stage:
                x = self.pooled(x)
            for place in places:
                weight, bias = (self.get_buffer(f"features_{place}_{of}") for of in ("weight", "bias"))
                x = F.relu(F.conv2d(x, weight, bias, padding=1))
            maps.append(x)
        return maps

    def pooled(self, x: Tensor) -> Tensor:
        """Halve the sides of a map (B, C, h, w).

        Values are roots of weighted means of squares, in windows of 3x3.
        """
        taps = self.get_buffer("taps").expand(x.shape[1], 1, -1, -1)
        return (F.conv2d(x.square(), taps, stride=2, padding=1, groups=x.shape[1]) + 1e-12).sqrt()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Compute DISTS (B,) of images (B, 3, H, W) in [0, 1]."""
        similarity = first.new_zeros(len(first))
        weights = zip(*(self.get_buffer(name).split(CHANNELS) for name in ("alpha", "beta")), strict=True)
        for x, y, (alpha, beta) in zip(self.maps(first), self.maps(second), weights, strict=True):
            texture, structure = similarities(x, y)
            similarity += texture @ alpha + structure @ beta
        return 1 - similarity


def similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the similarity of means, and of variations about them.

    Both are (B, C), of maps (B, C, h, w): (2 m m' + c) / (m² + m'² + c) and (2 cov + c) / (var + var' + c).
    """
    mean_x, mean_y = x.mean((2, 3), keepdim=True), y.mean((2, 3), keepdim=True)
    x, y = x - mean_x, y - mean_y
    mean_x, mean_y = mean_x.flatten(1), mean_y.flatten(1)
    texture = (2 * mean_x * mean_y + SMALL) / (mean_x.square() + mean_y.square() + SMALL)
    variances = x.square().mean((2, 3)) + y.square().mean((2, 3))
    return texture, (2 * (x * y).mean((2, 3)) + SMALL) / (variances + SMALL)


@cache
def network(device: torch.device) -> TextureNetwork:
    """Return DISTS with its pretrained weights.

    Raises AssetError if they cannot be obtained.
    """
    trunk, heads = (assets.tensors(name) for name in ASSETS)
    return TextureNetwork(trunk, heads).eval().requires_grad_(False).to(device)
