"""Structural similarity."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import pad

from vqbench.errors import RunError
from vqbench.images import distinct
from vqbench.metric import Batch, ImageMetric
from vqbench.protocol import MeasureProtocol

WINDOW = 11  # side of the window, in pixels
SMALL_WINDOW = 7  # scikit-image's default
SIGMA = 1.5  # of the Gaussian window, in pixels
PIECE = 2**16  # pixel values at a time, so that intermediate maps, which are read many times, stay in the cache
K1, K2 = 0.01, 0.03  # times the range of pixels, squared: the stabilising constants


class SSIM(ImageMetric):
    """Structural similarity: the mean over positions, channels and images.

    (2 m_x m_y + C1) (2 s_xy + C2) / ((m_x² + m_y² + C1) (s_x² + s_y² + C2)) with the means m, variances s² and
    covariance s_xy of an 11x11 window, at all positions where it fits, C1 = 0.01² and C2 = 0.03² (Wang et al. 2004,
    equations 13 and 17). In [-1, 1]; higher is better.

    Under a protocol with the ``gaussian`` window: weights of sigma 1.5 and population covariance, as in the paper.
    With the ``uniform`` window: equal weights and sample covariance (N / (N - 1), N = 121). Both equal scikit-image's
    ``structural_similarity(data_range=1, win_size=11)`` with the corresponding options. ``uniform7`` is its default,
    7x7. With a ``ssim_range`` L the constants are (0.01 L)² and (0.03 L)². RunError for images smaller than the window.
    """

    label = "SSIM"
    better = "max"
    ideal = 1.0
    digits = 4
    in_paper = True
    knobs = (*ImageMetric.knobs, "ssim", "ssim_range", "ssim_border")
    reference = "Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, IEEE TIP 2004"

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        return SMALL_WINDOW if protocol.ssim == "uniform7" else WINDOW

    def values(self, batch: Batch) -> Tensor:
        protocol = self.context.protocol
        side = self.smallest(protocol)
        if min(batch.originals.shape[-2:]) < side:
            height, width = batch.originals.shape[-2:]
            raise RunError(f"SSIM needs images of at least {side}x{side} pixels, these are {height}x{width}")
        gaussian = protocol.ssim == "gaussian"
        taps = gaussian_taps() if gaussian else uniform_taps(side)
        unbiased = 1.0 if gaussian else side**2 / (side**2 - 1)
        x, y = distinct(batch.originals), distinct(batch.reconstructions)
        if protocol.ssim_border == "reflect":
            x, y = (pad(each, (side // 2,) * 4, mode="reflect") for each in (x, y))
        size = max(1, PIECE // x[0].numel())
        pieces = zip(x.split(size), y.split(size), strict=True)
        maps = (ssim_map(x.double(), y.double(), taps, unbiased, protocol.ssim_range) for x, y in pieces)
        return torch.cat([each.mean((1, 2, 3)) for each in maps])


def ssim_map(x: Tensor, y: Tensor, taps: Tensor, unbiased: float, data_range: float = 1.0) -> Tensor:
    """Compute SSIM at each position where the window of ``taps`` (n,) fits.

    Images are (B, C, H, W) in [0, 1], the map (B, C, H - n + 1, W - n + 1).
    """
    luminance, contrast_and_structure = ssim_terms(x, y, taps, unbiased, data_range)
    return luminance * contrast_and_structure


def ssim_terms(x: Tensor, y: Tensor, taps: Tensor, unbiased: float, data_range: float = 1.0) -> tuple[Tensor, Tensor]:
    """Compute the two factors of SSIM at each position.

    The comparison of luminance, (2 m_x m_y + C1) / (m_x² + m_y² + C1), and that of contrast and structure.
    """
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_x, mean_y = filtered(x, taps), filtered(y, taps)
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    cov = unbiased * (filtered(x * y, taps) - product)
    variances = unbiased * (filtered(x * x + y * y, taps) - squares)  # of x plus that of y
    luminance = (2 * product + c1) / (squares + c1)
    contrast_and_structure = (2 * cov + c2) / (variances + c2)
    return luminance, contrast_and_structure


def filtered(x: Tensor, taps: Tensor) -> Tensor:
    """Compute the weighted mean over the window at each position where it fits.

    Its weights are the outer product of ``taps``.
    """
    height, width = x.shape[-2:]
    weights = tuple(taps.tolist())
    return band(weights, height, x.device).to(x.dtype) @ x @ band(weights, width, x.device).T.to(x.dtype)


@lru_cache(maxsize=16)
def band(taps: tuple[float, ...], size: int, device: torch.device) -> Tensor:
    """Return the 1-D filter ``taps`` (n,) as a matrix (size - n + 1, size), float64.

    Row i has the taps from column i on.
    """
    rows = torch.arange(size - len(taps) + 1)[:, None]
    matrix = torch.zeros(len(rows), size, dtype=torch.float64)
    matrix[rows, rows + torch.arange(len(taps))] = torch.tensor(taps, dtype=torch.float64)
    return matrix.to(device)


def uniform_taps(side: int = WINDOW) -> Tensor:
    """Return equal weights (side,) that sum to 1."""
    return torch.full((side,), 1 / side, dtype=torch.float64)


def gaussian_taps() -> Tensor:
    """Return Gaussian weights (11,) that sum to 1."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = (-0.5 * (offsets / SIGMA) ** 2).exp()
    return weights / weights.sum()
