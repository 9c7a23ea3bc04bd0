"""Multi-scale residual quantization, as VAR has it: coarse maps of codes first, each quantizing what is left."""

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
    """For each scale s: the residual, averaged to a grid of p_s × q_s cells, gets the nearest codes of one codebook;
    their map, back at full size by bicubic interpolation, is h; ẑ_s = ẑ_{s−1} + φ_s(h), φ_s(h) = h/2 + conv3×3(h)/2.

    loss = mean over the scales of mean((ẑ_s − sg z)²) + β·mean((sg ẑ_s − z)²); straight-through from the last ẑ to z.
    With ``scales`` of 4, a map of side 8 has the grids 1, 2, 4, 8; one of side 7 has 1, 2, 4, 7: sides are halved and
    rounded up. ``codes`` is (B, H, W, scales): at a position and scale, the code of the cell that it lies in.

    ``bits`` counts every cell once: Σ p_s·q_s / (H·W) · log2 K for the size that it was last trained on; before that,
    and to choose the number of codes, a square of ``side``. ``scale_codes``: codes of a cell; with None so many that
    ``bits`` comes nearest to log2 ``num_codes``. (side 8: 110, side 7: 79 for 512.)

    Codes start at U(±1/K), one of the starts that VAR's code offers (it was released without its training, and so
    without the one that was used; nothing chosen, it leaves N(0, 1)); the convolutions at U(±1/√fan-in).

    Differs from VAR: scales that fit small maps, as many convolutions as scales (there 4 for 10), and fewer codes.
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
        cells = sum(p * q for p, q in grids(scales, side, side)) / side**2  # a position
        codes = max(2, round(2 ** (log2(num_codes) / cells))) if scale_codes is None else scale_codes
        super().__init__(codes, dim, depth=scales)
        self.beta = beta
        self.size = nn.Buffer(torch.tensor([side, side]))
        self.codebook = nn.Parameter(Q.initial_codebook(codes, dim, "uniform"))
        self.convolutions = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(scales))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); nothing but the gradient tells training from evaluation."""
        height, width = z.shape[2:]
        if self.training:
            self.size[0].fill_(height)
            self.size[1].fill_(width)
        Q.flatten(z, self.dim)  # says what is wrong with a shape
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
        """What the codes (B, p, q, 1) of a scale add to ẑ: (B, dim, height, width)."""
        h = resample(Q.look_up(codes, self.codebook), height, width, "bicubic")
        convolved: Tensor = self.convolutions[scale](h)
        return (h + convolved) / 2

    def decode(self, codes: Tensor) -> Tensor:
        """The vectors (B, dim, H, W) of ``codes`` (B, H, W, scales), of which the first of every cell is read."""
        Q.require_codes(codes, self.depth)
        height, width = codes.shape[1:3]
        total: Tensor = torch.zeros((), device=codes.device)
        for scale, (p, q) in enumerate(grids(self.depth, height, width)):
            rows, columns = first_of(height, p, codes.device), first_of(width, q, codes.device)
            total = total + self.refine(scale, codes[:, rows][:, :, columns, scale, None], height, width)
        return total

    @property
    def bits(self) -> float:
        """Bits a position: those of all cells, over the positions."""
        height, width = map(int, self.size.tolist())
        return sum(p * q for p, q in grids(self.depth, height, width)) / (height * width) * log2(self.num_codes)


def grids(scales: int, height: int, width: int) -> list[tuple[int, int]]:
    """The cells (rows, columns) of each scale, the coarsest first; the last is the map itself."""
    return [(-(-height // 2**s), -(-width // 2**s)) for s in range(scales - 1, -1, -1)]


def resample(z: Tensor, height: int, width: int, mode: str) -> Tensor:
    """``z`` (B, D, p, q) at another size, by matrices: whose gradient, unlike the built-in one's, is deterministic."""
    rows = matrix(z.shape[2], height, mode, z)
    return rows @ z @ matrix(z.shape[3], width, mode, z).T


def matrix(size: int, target: int, mode: str, like: Tensor) -> Tensor:
    """The (target, size) weights of one axis."""
    identity = torch.eye(size, device=like.device, dtype=like.dtype)[None, None]
    return F.interpolate(identity, (target, size), mode=mode)[0, 0]


def cell_of(size: int, cells: int, device: torch.device) -> Tensor:
    """The cell that each of ``size`` places lies in."""
    return torch.arange(size, device=device) * cells // size


def first_of(size: int, cells: int, device: torch.device) -> Tensor:
    """The first place of each cell."""
    return -(-torch.arange(cells, device=device) * size // cells)
