"""Finite scalar quantization: each channel is rounded, no codebook is learned."""

from __future__ import annotations

from math import prod, tan
from typing import ClassVar

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import BelowOne
from vqbench.quantizer import Quantizer, QuantizerOutput


class FSQ(Quantizer):
    """Round each of d channels to one of its L_1 … L_d levels.

    A code is the number whose mixed-radix digits are the rounded channels.

    h = (L − 1)(1 − ε)/2, o = 0.5 for even L and 0 for odd, y = tanh(z + tan(o/h))·h − o, ẑ = round(y)/⌊L/2⌋ with a
    straight-through gradient. The code is Σ_j (round(y_j) + ⌊L_j/2⌋)·Π_{i<j} L_i. The loss is 0.

    ``levels`` reads like ``8x5x5x5``. With None it is the paper's (table 1) for 2^8, 2^10, 2^12, 2^14 and 2^16 codes,
    otherwise the 5 to 8 levels per channel that come nearest to ``num_codes`` (512: ``8x8x8``). ``num_codes`` is then
    their product.

    Linear maps lead from ``dim`` to the d channels and back, which the released networks have outside the quantizer;
    they start at U(±1/√fan-in), PyTorch's default. Differs from the released code: nothing known.
    """

    paper: ClassVar[str] = (
        "F. Mentzer, D. Minnen, E. Agustsson, M. Tschannen, Finite Scalar Quantization: VQ-VAE Made Simple, "
        "ICLR 2024, arXiv 2309.15505"
    )

    def __init__(self, num_codes: int, dim: int, *, levels: str | None = None, epsilon: BelowOne = 1e-3) -> None:
        words = levels.split("x") if levels is not None else []
        Q.require(all(word.isdecimal() for word in words), f"levels must read like 8x5x5x5, not {levels!r}")
        chosen = tuple(map(int, words)) or Q.scalar_levels(num_codes)
        Q.require(min(chosen) >= 2, f"every channel needs at least 2 levels, not {levels!r}")
        super().__init__(prod(chosen), dim)
        reach = [(count - 1) * (1 - epsilon) / 2 for count in chosen]
        offset = [0.5 * (count % 2 == 0) for count in chosen]
        shift = [tan(o / h) for o, h in zip(offset, reach, strict=True)]
        radix = [prod(chosen[:channel]) for channel in range(len(chosen))]
        self.levels = nn.Buffer(torch.tensor(chosen), persistent=False)
        self.radix = nn.Buffer(torch.tensor(radix), persistent=False)
        self.reach = nn.Buffer(torch.tensor(reach), persistent=False)
        self.offset = nn.Buffer(torch.tensor(offset), persistent=False)
        self.shift = nn.Buffer(torch.tensor(shift), persistent=False)
        self.project_in, self.project_out = nn.Linear(dim, len(chosen)), nn.Linear(len(chosen), dim)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        y = self.bound(self.project_in(Q.flatten(z, self.dim)))  # (N, d)
        digits = y.round()
        whole = digits.nan_to_num().long() + self.levels // 2  # a diverged run must reach the check of its loss
        codes = Q.code_map((whole * self.radix).sum(1), z)
        z_q = Q.unflatten(self.project_out(Q.straight_through(y, digits) / (self.levels // 2)), z)
        return QuantizerOutput(z_q, codes, z.new_zeros(()), Q.usage_logs(Q.code_counts(codes, self.num_codes)))

    def bound(self, z: Tensor) -> Tensor:
        """Map ``z`` (N, d) to numbers that round to one of their channel's L levels."""
        return torch.tanh(z + self.shift) * self.reach - self.offset

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        Q.require_codes(codes, depth=1)
        digits = codes // self.radix % self.levels - self.levels // 2  # (B, H, W, d)
        rows = self.project_out(digits.to(self.reach.dtype).flatten(0, 2) / (self.levels // 2))
        return Q.unflatten(rows, codes.permute(0, 3, 1, 2))
