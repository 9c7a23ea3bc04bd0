"""Multi-scale residual quantization (VAR): coarse maps of codes first."""

from __future__ import annotations

from math import log2
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Codes, Layers, NonNegativeFloat, Width
from vqbench.quantizer import Quantizer, QuantizerOutput


class MultiScale(Quantizer):
    """Quantize what coarser scales left, scale by scale, with one codebook.

    For each scale s: the residual, averaged to a grid of p_s × q_s cells, gets the nearest codes of one codebook;
    their map, back at full size by bicubic interpolation, is h; ẑ_s = ẑ_{s−1} + φ_s(h), φ_s(h) = h/2 + conv3×3(h)/2.

    loss = mean over the scales of mean((ẑ_s − sg z)²) + β·mean((sg ẑ_s − z)²); straight-through from the last ẑ to z.
    With ``scales`` of 4, a map of side 8 has the grids 1, 2, 4, 8; one of side 7 has 1, 2, 4, 7: sides are halved and
    rounded up. ``codes`` is (B, H, W, scales): at a position and scale, the code of the cell that it lies in.

    ``bits`` counts every cell once: Σ p_s·q_s / (H·W) · log2 K, for the map size of the last training step; before
    that, and to choose the number of codes, for a square of ``side``. ``scale_codes``: K; with None the number for
    which ``bits`` comes nearest to log2 ``num_codes`` (for 512: side 8 gives 110, side 7 gives 79).

    Codes start at U(±1/K), one of the starts that VAR's code offers. It was released without its training, and so
    without the start that was used; by default it is N(0, 1). The convolutions start at U(±1/√fan-in).

    Differs from VAR: scales that fit small maps, one convolution per scale (there 4 for 10 scales), and fewer codes.
    """

    paper: ClassVar[str] = (
        "K. Tian, Y. Jiang, Z. Yuan, B. Peng, L. Wang, Visual Autoregressive Modeling: Scalable Image Generation via "
        "Next-Scale Prediction, NeurIPS 2024, arXiv 2404.02905"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        scales: Layers = 4,
        side: Width = 8,
        scale_codes: Codes | None = None,
        beta: NonNegativeFloat = 0.25,
    ) -> None:
        Q.require(min(scales, side, num_codes) >= 1, "scales, side and num_codes must be at least 1")
        cells = sum(p * q for p, q in grids(scales, side, side)) / side**2  # per position
        codes = max(2, round(2 ** (log2(num_codes) / cells))) if scale_codes is None else scale_codes
        super().__init__(codes, dim, depth=scales)
        self.beta = beta
        self.size = nn.Buffer(torch.tensor([side, side]))
        self.codebook = nn.Parameter(Q.initial_codebook(codes, dim, "uniform"))
        self.convolutions = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(scales))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        height, width = z.shape[2:]
        if self.training:
            self.size[0].fill_(height)
            self.size[1].fill_(width)
        Q.flatten(z, self.dim)  # raises for another shape
        total, loss, chosen = torch.zeros_like(z), z.new_zeros(()), []
        for scale, (p, q) in enumerate(grids(self.depth, height, width)):
            mean = resample((z - total).detach(), p, q, "area")
            codes = Q.code_map(Q.assign(Q.flatten(mean, self.dim), self.codebook), mean)  # (B, p, q, 1)
            total = total + self.refine(scale, codes, height, width)
            loss = loss + Q.vq_loss(z, total, self.beta) / self.depth
            chosen.append(codes[:, cell_of(height, p, z.device)][:, :, cell_of(width, q, z.device)])
        codes = torch.cat(chosen, -1)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(Q.straight_through(z, total), codes, loss, logs)

    def refine(self, scale: int, codes: Tensor, height: int, width: int) -> Tensor:
        """Return what the codes (B, p, q, 1) of a scale add to ẑ, at full size."""
        h = resample(Q.look_up(codes, self.codebook), height, width, "bicubic")
        convolved: Tensor = self.convolutions[scale](h)
        return (h + convolved) / 2

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes``, read once per cell."""
        Q.require_codes(codes, self.depth)
        height, width = codes.shape[1:3]
        total: Tensor = torch.zeros((), device=codes.device)
        for scale, (p, q) in enumerate(grids(self.depth, height, width)):
            rows, columns = first_of(height, p, codes.device), first_of(width, q, codes.device)
            total = total + self.refine(scale, codes[:, rows][:, :, columns, scale, None], height, width)
        return total

    @property
    def bits(self) -> float:
        """Bits per position: those of all cells, divided by the positions."""
        height, width = map(int, self.size.tolist())
        return sum(p * q for p, q in grids(self.depth, height, width)) / (height * width) * log2(self.num_codes)

    def codes_per_image(self, height: int, width: int) -> list[int]:
        """Return the cells of each scale."""
        return [p * q for p, q in grids(self.depth, height, width)]


def grids(scales: int, height: int, width: int) -> list[tuple[int, int]]:
    """Return the cells (rows, columns) of each scale, the coarsest first."""
    return [(-(-height // 2**s), -(-width // 2**s)) for s in range(scales - 1, -1, -1)]


def resample(z: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Resize ``z`` (B, D, p, q) by matrices.

    Unlike that of torch's interpolation, the gradient is deterministic.
    """
    rows = matrix(z.shape[2], height, mode, z)
    return rows @ z @ matrix(z.shape[3], width, mode, z).T


def matrix(size: int, target: int, mode: str, like: Tensor) -> Tensor:
    """Return the weights (target, size) of one axis."""
    identity = torch.eye(size, device=like.device, dtype=like.dtype)[None, None]
    return F.interpolate(identity, (target, size), mode=mode)[0, 0]


def cell_of(size: int, cells: int, device: torch.device) -> Tensor:
    """Return the cell of each of ``size`` positions."""
    return torch.arange(size, device=device) * cells // size


def first_of(size: int, cells: int, device: torch.device) -> Tensor:
    """Return the first position of each cell."""
    return -(-torch.arange(cells, device=device) * size // cells)
