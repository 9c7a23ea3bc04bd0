"""Deep image structure and texture similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.metric import Batch, Context, ImageMetric
from vqbench.networks.precision import inference_float32
from vqbench.networks.texture import ASSETS, SMALLEST, network
from vqbench.protocol import MeasureProtocol

PIXELS = 2**19  # per pass through the network


class DISTS(ImageMetric):
    """Distance of structure and texture, which tolerates other samples of a texture.

    1 − Σ_l Σ_c (α_lc · (2 m m' + c) / (m² + m'² + c) + β_lc · (2 cov + c) / (var + var' + c)), with the means,
    variances and the covariance of channel c of the maps of layer l over all positions, c = 1e-6, and the published
    weights α, β, which sum to 1 (Ding et al. 2020, equations 4 to 6), then the mean over images. Maps are the image
    itself and those of VGG16 after relu 1_2, 2_2, 3_3, 4_3 and 5_3, with L2 pooling in place of max pooling. About 0 to
    1; lower is better, and 0 for equal images.

    Equal to the package ``dists-pytorch`` in float64, image by image to 1e-6. Images are at their own size, in [0, 1],
    grey tiled to RGB; α, β were fitted to images of 256 pixels, and in much smaller ones statistics of all positions
    say little of texture. RunError for images smaller than 16 pixels.

    Off by default: no suite names it. VGG16 passes over originals and reconstructions in every run.
    """

    label = "DISTS"
    better = "min"
    ideal = 0.0
    digits = 4
    reference = "Ding et al., Image Quality Assessment: Unifying Structure and Texture Similarity, arXiv 2004.07728"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ASSETS

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        return SMALLEST

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.net = network(context.device)

    def values(self, batch: Batch) -> Tensor:
        height, width = batch.originals.shape[-2:]
        if min(height, width) < SMALLEST:
            raise RunError(f"DISTS needs images of at least {SMALLEST}x{SMALLEST} pixels, these are {height}x{width}")
        size = max(1, PIXELS // (height * width))
        pairs = zip(batch.originals.split(size), batch.reconstructions.split(size), strict=True)
        with inference_float32(batch.originals.device):
            return torch.cat([self.net(x.expand(-1, 3, -1, -1), y.expand(-1, 3, -1, -1)) for x, y in pairs])
