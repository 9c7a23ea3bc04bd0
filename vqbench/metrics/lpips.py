"""Learned perceptual image patch similarity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.metric import Batch, Context, ImageMetric
from vqbench.networks.perceptual import EPS, SMALLEST, TRUNKS, channel_weights, network
from vqbench.networks.precision import inference_float32
from vqbench.protocol import MeasureProtocol

MEMORY = 5 * 10**8  # bytes of the originals' maps that are kept at most
PIXELS = 2**20  # per pass through the network


class LPIPS(ImageMetric):
    """Learned perceptual distance, LPIPS v0.1 with its linear heads.

    sum_l mean_hw sum_c w_lc (f_lchw - f'_lchw)² with the features f of layer l, of unit length at each position, and
    the weights w of its head (Zhang et al. 2018, equation 1), then the mean over images. At least 0; lower is better.
    Images are at their own size, in [-1, 1], grey tiled to RGB. Equal to the package ``lpips``, image by image.
    RunError for images smaller than 16 pixels (VGG16) or 31 (AlexNet).

    The originals' maps are computed once and kept in memory for the next runs in this process, if those of all images
    fit into half a gigabyte. Otherwise none are kept, and never on disk: VGG16's take 0.5 MB per image of 32x32, so
    5 GB for 10,000 under each protocol, and one core computes them again in half a minute per run (3 ms per image).
    """

    label = "LPIPS"
    better = "min"
    ideal = 0.0
    digits = 4
    in_paper = True
    knobs = (*ImageMetric.knobs, "lpips_net", "lpips_input")
    reference = "Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018, arXiv 1801.03924"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return (TRUNKS[protocol.lpips_net],)

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        return SMALLEST[protocol.lpips_net]

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.net: Any = network(context.protocol.lpips_net, context.device)
        self._kept: dict[tuple[int, ...], list[Tensor]] = {}  # positions in the split -> their maps
        self._keeps = context.keep
        self._bytes = 0

    def values(self, batch: Batch) -> Tensor:
        height, width = batch.originals.shape[-2:]
        smallest = SMALLEST[self.context.protocol.lpips_net]
        if min(height, width) < smallest:
            raise RunError(f"LPIPS needs images of at least {smallest}x{smallest} pixels, these are {height}x{width}")
        size = max(1, PIXELS // (height * width))
        chunks = zip(*(t.split(size) for t in (batch.index, batch.originals, batch.reconstructions)), strict=True)
        with inference_float32(batch.originals.device):
            return torch.cat([self._distance(*chunk) for chunk in chunks])

    def _distance(self, index: Tensor, originals: Tensor, reconstructions: Tensor) -> Tensor:
        """Compute the distance of each pair, (B,).

        The mean over positions is taken before the weighting, which is linear: maps are large, their means are not.
        """
        pairs = zip(self.net.lins, self._maps_of_originals(index, originals), self._maps(reconstructions), strict=True)
        return torch.stack([y.sub_(x).square_().mean((2, 3)) @ channel_weights(head) for head, x, y in pairs]).sum(0)

    def _maps_of_originals(self, index: Tensor, originals: Tensor) -> list[Tensor]:
        key = tuple(index.tolist())
        if key in self._kept:
            return self._kept[key]
        maps = self._maps(originals)
        self._bytes += sum(layer.nbytes for layer in maps)
        if self._bytes > MEMORY:  # keeping a part would save the next run little for the memory that it takes
            self._keeps = False
            self._kept.clear()
        if self._keeps:
            self._kept[key] = maps
        return maps

    def _maps(self, images: Tensor) -> list[Tensor]:
        """Compute features of images in [0, 1], of unit length at each position.

        One map (B, channels, h, w) per layer.
        """
        x = images.expand(-1, 3, -1, -1)
        x = self.net.scaling_layer(2 * x - 1 if self.context.protocol.lpips_input == "[-1, 1]" else x)
        return [layer.div_(torch.linalg.vector_norm(layer, dim=1, keepdim=True) + EPS) for layer in self.net.net(x)]
