"""Finite scalar quantization: each channel is rounded, no codebook is learned."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, tan
from typing import Any, ClassVar, Literal

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

    ``bound="sigmoid"`` is iFSQ (preset ``ifsq``), for odd L: y = (2σ(1.6z) − 1)·(L − 1)/2, which is tanh(0.8z) instead
    of tanh(z), without ε. For normal z, y is nearly uniform. Its levels are less even than those of ``tanh``, since
    rounding gives the two end levels half a bin each: of 17 levels 4.02 bits are used, with ``tanh`` 4.06.

    ``levels`` reads like ``8x5x5x5``. With None it is the paper's (table 1) for 2^8, 2^10, 2^12, 2^14 and 2^16 codes,
    otherwise the 5 to 8 levels per channel that come nearest to ``num_codes`` (512: ``8x8x8``); under ``sigmoid`` the 5
    to 17 odd levels nearest below it (512: ``11x9x5``). ``num_codes`` is then their product.

    Linear maps lead from ``dim`` to the d channels and back, which the released networks have outside the quantizer;
    they start at U(±1/√fan-in), PyTorch's default. Differs from the released code: nothing known of FSQ. iFSQ's
    published models have 17x17x17x17 levels, and its code keeps a running mean and variance that it never uses.
    """

    paper: ClassVar[str] = (
        "F. Mentzer, D. Minnen, E. Agustsson, M. Tschannen, Finite Scalar Quantization: VQ-VAE Made Simple, "
        "ICLR 2024, arXiv 2309.15505; B. Lin et al., iFSQ: Improving FSQ for Image Generation with 1 Line of Code, "
        "2026, arXiv 2601.17124"
    )
    LATER: ClassVar[Mapping[str, Any]] = {"bound": "tanh"}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"ifsq": {"bound": "sigmoid"}}

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        levels: str | None = None,
        epsilon: BelowOne = 1e-3,
        bound: Literal["tanh", "sigmoid"] = "tanh",
    ) -> None:
        Q.require_choice("bound", bound, Literal["tanh", "sigmoid"])
        usual = Q.scalar_levels if bound == "tanh" else Q.odd_levels
        chosen = usual(num_codes) if levels is None else Q.parse_levels(levels)
        if bound == "sigmoid":
            Q.require(all(count % 2 for count in chosen), f"bound=sigmoid needs odd levels like 9x9x5, not {levels!r}")
            epsilon = 0.0
        super().__init__(prod(chosen), dim)
        self.activation = bound
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
        if self.activation == "sigmoid":
            return (2 * torch.sigmoid(1.6 * z) - 1) * self.reach
        return torch.tanh(z + self.shift) * self.reach - self.offset

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        Q.require_codes(codes, depth=1)
        digits = codes // self.radix % self.levels - self.levels // 2  # (B, H, W, d)
        rows = self.project_out(digits.to(self.reach.dtype).flatten(0, 2) / (self.levels // 2))
        return Q.unflatten(rows, codes.permute(0, 3, 1, 2))
