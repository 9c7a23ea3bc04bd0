"""Structural similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.images import distinct
from vqbench.metric import Batch, ImageMetric
from vqbench.protocol import MeasureProtocol

WINDOW = 11  # side of the window, in pixels
SIGMA = 1.5  # of the Gaussian window, in pixels
PIECE = 2**16  # pixel values at a time, so that intermediate maps, which are read many times, stay in the cache
C1, C2 = 0.01**2, 0.03**2  # the stabilising constants for pixels in [0, 1]


class SSIM(ImageMetric):
    """Structural similarity: the mean over positions, channels and images.

    (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x² + m_y² + C1) (s_x² + s_y² + C2)) with the means m, variances s² and
    covariance s_xy of an 11x11 window, at all positions where it fits, C1 = 0.01² and C2 = 0.03² (Wang et al. 2004,
    equations 13 and 17). In [-1, 1]; higher is better.

    Under a protocol with the ``gaussian`` window: weights of sigma 1.5 and population covariance, as in the paper.
    With the ``uniform`` window: equal weights and sample covariance (N / (N - 1), N = 121). Both equal scikit-image's
    ``structural_similarity(data_range=1, win_size=11)`` with the corresponding options. RunError for images of fewer
    than 11 pixels a side.
    """

    label = "SSIM"
    better = "max"
    ideal = 1.0
    digits = 4
    knobs = (*ImageMetric.knobs, "ssim")
    reference = "Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE TIP 2004"

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        return WINDOW

    def values(self, batch: Batch) -> Tensor:
        if min(batch.originals.shape[-2:]) < WINDOW:
            height, width = batch.originals.shape[-2:]
            raise RunError(f"SSIM needs images of at least {WINDOW}x{WINDOW} pixels, these are {height}x{width}")
        uniform = self.context.protocol.ssim == "uniform"
        taps = uniform_taps() if uniform else gaussian_taps()
        unbiased = WINDOW**2 / (WINDOW**2 - 1) if uniform else 1.0
        x, y = distinct(batch.originals), distinct(batch.reconstructions)
        size = max(1, PIECE // x[0].numel())
        pieces = zip(x.split(size), y.split(size), strict=True)
        return torch.cat([ssim_map(x.double(), y.double(), taps, unbiased).mean((1, 2, 3)) for x, y in pieces])


def ssim_map(x: Tensor, y: Tensor, taps: Tensor, unbiased: float) -> Tensor:
    """Compute SSIM at each position where the window fits.

    Images are (B, C, H, W) in [0, 1], the map (B, C, H - 10, W - 10).
    """
    mean_x, mean_y = filtered(x, taps), filtered(y, taps)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    cov = unbiased * (filtered(x * y, taps) - product)
    variances = unbiased * (filtered(x * x + y * y, taps) - squares)  # of x plus that of y
    luminance = (2 * product + C1) / (squares + C1)
    contrast_and_structure = (2 * cov + C2) / (variances + C2)
    return luminance * contrast_and_structure


def filtered(x: Tensor, taps: Tensor) -> Tensor:
    """Compute the weighted mean over the window at each position where it fits.

    Its weights are the outer product of ``taps``.
    """
    height, width = x.shape[-2:]
    return band(taps, height).to(x) @ x @ band(taps, width).T.to(x)


def band(taps: Tensor, size: int) -> Tensor:
    """Return the 1-D filter as a matrix (size - 10, size).

    Row i has the taps at columns i to i + 10.
    """
    rows = torch.arange(size - WINDOW + 1)[:, None]
    matrix = torch.zeros(len(rows), size, dtype=taps.dtype)
    matrix[rows, rows + torch.arange(WINDOW)] = taps
    return matrix


def uniform_taps() -> Tensor:
    """Return equal weights (11,) that sum to 1."""
    return torch.full((WINDOW,), 1 / WINDOW, dtype=torch.float64)


def gaussian_taps() -> Tensor:
    """Return Gaussian weights (11,) that sum to 1."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = (-0.5 * (offsets / SIGMA) ** 2).exp()
    return weights / weights.sum()
