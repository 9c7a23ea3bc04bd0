"""SimVQ: a frozen random codebook, moved as a whole by one linear map."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class SimVQ(Quantizer):
    """Choose the nearest code of a frozen codebook after a learned linear map.

    The codes are E = CWᵀ + b, where C (K, D) ~ N(0, 1/D) is frozen and W (D, D) and b (D) learn.

    So every used code moves all of them. loss = mean((e − sg z)²) + β·mean((sg e − z)²), straight-through gradient.
    W and b start at U(±1/√D), as in the released code.

    Differs from the released code: ``decode`` applies the linear map, which the released lookup of indices omits. Its
    class has β on the first term by default (``legacy``); its configurations have it as here.
    """

    paper: ClassVar[str] = (
        "Y. Zhu, B. Li, Y. Xin, L. Xu, Addressing Representation Collapse in Vector Quantized Models with One Linear "
        "Layer, ICCV 2025, arXiv 2411.02038"
    )

    def __init__(self, num_codes: int, dim: int, *, beta: NonNegativeFloat = 0.25) -> None:
        super().__init__(num_codes, dim)
        self.beta = beta
        self.frozen = nn.Buffer(Q.initial_codebook(num_codes, dim, "normal") / dim**0.5)
        self.projection = nn.Linear(dim, dim)

    @property
    def codebook(self) -> Tensor:
        """Return the effective codes (num_codes, dim), with a gradient."""
        codebook: Tensor = self.projection(self.frozen)
        return codebook

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        codebook = self.codebook
        codes = Q.code_map(Q.assign(Q.flatten(z, self.dim), codebook), z)
        z_q = Q.look_up(codes, codebook)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(Q.straight_through(z, z_q), codes, Q.vq_loss(z, z_q, self.beta), logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the effective code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
