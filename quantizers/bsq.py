"""Binary spherical quantization: the code is the signs of a point on a sphere."""

from __future__ import annotations

from math import log2, sqrt
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class BSQ(Quantizer):
    """Quantize each feature to a corner of a hypercube on the unit sphere.

    û = sign(u)/√L of u = y/‖y‖, y = z projected to L channels, K = 2^L codes; the first channel is the highest bit.

    p_i = softmax over all codes c ∈ {±1/√L}^L of 2τ⟨u_i, c⟩, whose bits are independent: σ(4τu/√L).
    loss = entropy·(mean_i H(p_i) − diversity·H(mean_i p_i))/τ + commitment·mean_i ‖u_i − sg û_i‖², the second entropy
    over the global batch. Straight-through gradient.

    L is log2 of ``num_codes``, rounded. Linear maps lead from ``dim`` to the L channels and back, which start at
    U(±1/√fan-in), PyTorch's default.

    Differs from the released code:

    - The entropy of the mean is exact here for any L. There it is a sum over parts of the code, an upper bound: with
      ``group`` over groups of 9 bits (equal for L = 9); with ``analytical``, which three of the four released
      configurations set, over single bits; and without ``soft_entropy`` it is that of the hard codes, with a gradient
      of its own. The mean of the entropies is the same for ``group`` and ``analytical``.
    - The weight of the entropies is constant; there it is three times as large at the start.
    - The encoder's gradient lacks the factor 1/√L, which there comes from scaling after the straight-through step.
    """

    paper: ClassVar[str] = (
        "Y. Zhao, Y. Xiong, P. Krähenbühl, Image and Video Tokenization with Binary Spherical Quantization, "
        "ICLR 2025, arXiv 2406.07548"
    )

    VERSION: ClassVar[int] = 2  # 2: the commitment is a sum over the L channels, not their mean

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        entropy: NonNegativeFloat = 0.1,
        diversity: NonNegativeFloat = 1.0,
        commitment: NonNegativeFloat = 0.0,
        inverse_temperature: PositiveFloat = 1.0,
    ) -> None:
        Q.require(num_codes >= 1, f"num_codes must be at least 1, not {num_codes}")
        Q.require(inverse_temperature > 0, f"inverse_temperature must be positive, not {inverse_temperature}")
        num_bits = max(1, round(log2(num_codes)))
        super().__init__(2**num_bits, dim)
        self.num_bits = num_bits
        self.entropy, self.diversity, self.commitment = entropy, diversity, commitment
        self.inverse_temperature = inverse_temperature
        self.project_in, self.project_out = nn.Linear(dim, num_bits), nn.Linear(num_bits, dim)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        u = F.normalize(self.project_in(Q.flatten(z, self.dim)), dim=1)  # (N, L)
        codes = Q.code_map(Q.pack_bits(u), z)
        u_q = Q.signs(u) / sqrt(self.num_bits)
        logits = 4 * self.inverse_temperature / sqrt(self.num_bits) * u  # ln p(bit 1) − ln p(bit 0)
        certainty = Q.bit_entropy(logits).mean()
        variety = Q.entropy(Q.all_mean(Q.mean_bit_posterior(logits)))
        loss = self.entropy * (certainty - self.diversity * variety) / self.inverse_temperature
        loss = loss + self.commitment * self.num_bits * F.mse_loss(u, u_q)
        z_q = Q.unflatten(self.project_out(Q.straight_through(u, u_q)), z)
        return QuantizerOutput(z_q, codes, loss, Q.usage_logs(Q.code_counts(codes, self.num_codes)))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        Q.require_codes(codes, depth=1)
        u_q = Q.unpack_bits(codes.flatten(), self.num_bits).to(self.project_out.weight.dtype) / sqrt(self.num_bits)
        return Q.unflatten(self.project_out(u_q), codes.permute(0, 3, 1, 2))
