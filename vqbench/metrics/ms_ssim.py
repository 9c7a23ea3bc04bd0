"""Multi-scale structural similarity."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from vqbench.errors import RunError
from vqbench.images import distinct
from vqbench.metric import Batch, ImageMetric
from vqbench.metrics.ssim import WINDOW, gaussian_taps, ssim_terms
from vqbench.protocol import MeasureProtocol

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, the finest first
SMALLEST = WINDOW << len(WEIGHTS) - 1  # 176 pixels: the window fits the coarsest scale
PIECE = 2**18  # pixel values at a time


class MSSSIM(ImageMetric):
    """Structural similarity over five scales, each half as fine as the one before.

    l_5^w_5 · prod_s cs_s^w_s per channel, with the mean comparisons of contrast and structure cs_s at scale s, that of
    luminance l_5 at the coarsest scale (inside the mean there, as SSIM has it), and the weights 0.0448, 0.2856, 0.3001,
    0.2363 and 0.1333 (Wang, Simoncelli and Bovik 2003, equation 7), then the mean over channels and images. A negative
    cs_s counts as 0. In [0, 1]; higher is better. Windows are Gaussian as for SSIM under ``clean``; the next scale is
    the mean of 2x2 pixels, where an odd last row or column is left out.

    Equal to the package ``pytorch-msssim`` where every scale has even sides. RunError for images smaller than 176
    pixels, so it has no value for small images.
    """

    label = "MS-SSIM"
    better = "max"
    ideal = 1.0
    digits = 4
    reference = "Wang, Simoncelli and Bovik, Multiscale Structural Similarity, Asilomar 2003"

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        return SMALLEST

    def values(self, batch: Batch) -> Tensor:
        height, width = batch.originals.shape[-2:]
        if min(height, width) < SMALLEST:
            raise RunError(f"MS-SSIM needs images of at least {SMALLEST}x{SMALLEST} pixels, these are {height}x{width}")
        x, y = distinct(batch.originals), distinct(batch.reconstructions)
        size = max(1, PIECE // x[0].numel())
        pieces = zip(x.split(size), y.split(size), strict=True)
        return torch.cat([ms_ssim(x.double(), y.double()) for x, y in pieces])


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute the value of each pair of images (B, C, H, W) in [0, 1]: (B,)."""
    taps = gaussian_taps()
    product = x.new_ones(x.shape[:2])  # (B, C)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = avg_pool2d(x, 2), avg_pool2d(y, 2)
        luminance, contrast = ssim_terms(x, y, taps, unbiased=1.0)
        term = luminance * contrast if scale == len(WEIGHTS) - 1 else contrast
        product *= term.mean((2, 3)).relu() ** weight
    return product.mean(1)
