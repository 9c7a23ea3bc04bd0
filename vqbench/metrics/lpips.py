"""Learned perceptual image patch similarity."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from vqbench import assets
from vqbench.compat import ensure_torchvision
from vqbench.errors import RunError
from vqbench.inception import full_precision
from vqbench.metric import Batch, Context, ImageMetric
from vqbench.protocol import MeasureProtocol

TRUNKS = {"vgg": "vgg16_lpips", "alex": "alexnet_lpips"}  # names in the catalogue of weights
SMALLEST = {"vgg": 16, "alex": 31}  # side in pixels, below which nothing is left for the last layer
MEMORY = 10**9  # bytes of the originals' features that are kept
PIXELS = 2**20  # a pass through the network


class LPIPS(ImageMetric):
    """LPIPS v0.1 with its linear heads, at the pictures' own size, in [-1, 1], grey tiled to RGB; the mean over images.

    Equal to the package ``lpips``, image by image. The originals' features are computed once and stay in memory, for
    the next runs on the same pictures, up to a gigabyte; beyond it they are computed anew. RunError for pictures
    smaller than 16 pixels (VGG16) or 31 (AlexNet).
    """

    label = "LPIPS"
    better = "min"
    digits = 4
    knobs = (*ImageMetric.knobs, "lpips_net")
    reference = "Zhang et al., The Unreasonable Effectiveness of Deep Features, CVPR 2018, arXiv 1801.03924"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return (TRUNKS[protocol.lpips_net],)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.net: Any = network(context.protocol.lpips_net, context.device)
        self._kept: dict[tuple[int, ...], list[Tensor]] = {}  # positions in the split -> their maps
        self._bytes = 0

    def values(self, batch: Batch) -> Tensor:
        height, width = batch.originals.shape[-2:]
        smallest = SMALLEST[self.context.protocol.lpips_net]
        if min(height, width) < smallest:
            raise RunError(f"LPIPS needs pictures of at least {smallest}x{smallest} pixels, these are {height}x{width}")
        size = max(1, PIXELS // (height * width))
        chunks = zip(*(t.split(size) for t in (batch.index, batch.originals, batch.reconstructions)), strict=True)
        with full_precision(batch.originals.device):
            return torch.cat([self._distance(*chunk) for chunk in chunks])

    def _distance(self, index: Tensor, originals: Tensor, reconstructions: Tensor) -> Tensor:
        """(B,): squared differences of features, weighted by the heads, meaned over positions, summed over layers."""
        pairs = zip(self.net.lins, self._maps_of_originals(index, originals), self._maps(reconstructions), strict=True)
        return torch.stack([head((x - y) ** 2).mean((1, 2, 3)) for head, x, y in pairs]).sum(0)

    def _maps_of_originals(self, index: Tensor, originals: Tensor) -> list[Tensor]:
        key = tuple(index.tolist())
        if key in self._kept:
            return self._kept[key]
        maps = self._maps(originals)
        needed = sum(layer.nbytes for layer in maps)
        if self.context.keep and self._bytes + needed <= MEMORY:
            self._kept[key] = maps
            self._bytes += needed
        return maps

    def _maps(self, pictures: Tensor) -> list[Tensor]:
        """Features of pictures in [0, 1], one map (B, channels, h, w) a layer, of unit length at each position."""
        import lpips

        x = self.net.scaling_layer(2 * pictures.expand(-1, 3, -1, -1) - 1)
        return [lpips.normalize_tensor(layer) for layer in self.net.net(x)]


@cache
def network(trunk: str, device: torch.device) -> nn.Module:
    """``lpips.LPIPS`` with its pretrained trunk, in evaluation mode. Raises AssetError without the weights."""
    ensure_torchvision()
    import lpips

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="torchvision")  # lpips builds the trunk in torchvision's old way
        net = lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False)
    weights = assets.tensors(TRUNKS[trunk])
    names = {name: "features." + name.split(".", 1)[1] for name in net.net.state_dict()}  # "slice1.0.weight" ends alike
    net.net.load_state_dict({name: weights[source] for name, source in names.items()}, strict=True)
    return net.eval().requires_grad_(False).to(device)
