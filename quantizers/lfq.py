"""Lookup-free quantization: the signs of a few channels are the code."""

from __future__ import annotations

from math import log2
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class LFQ(Quantizer):
    """Quantize each of a few channels to its sign.

    ẑ = sign(y) ∈ {±1}^L of y = z projected to L channels, K = 2^L codes; the first channel is the highest bit.

    p_i = softmax over all codes c of 2⟨y_i, c⟩/T. loss = commitment·mean((y − sg ẑ)²)
    + entropy·(mean_i H(p_i) − diversity·H(mean_i p_i)); the first entropy makes every feature certain of its code, the
    second all codes equally used, over the global batch. The bits of p_i are independent, so both are exact
    without a matrix over all codes. Straight-through gradient.

    L is log2 of ``num_codes``, rounded. Linear maps lead from ``dim`` to the L channels and back, which start at
    U(±1/√fan-in), PyTorch's default.

    Differs from MAGVIT-v2: the weight on the entropies is constant; there it falls while large vocabularies train.
    Differs from Open-MAGVIT2's code: there are no linear maps, logarithms have 1e-5 inside, the loss is 0 in
    evaluation, and the first channel is the lowest bit.
    """

    paper: ClassVar[str] = (
        "L. Yu et al., Language Model Beats Diffusion: Tokenizer is Key to Visual Generation (MAGVIT-v2), "
        "ICLR 2024, arXiv 2310.05737"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        commitment: NonNegativeFloat = 0.25,
        entropy: NonNegativeFloat = 0.1,
        diversity: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 0.01,
    ) -> None:
        Q.require(num_codes >= 1, f"num_codes must be at least 1, not {num_codes}")
        Q.require(temperature > 0, f"temperature must be positive, not {temperature}")
        num_bits = max(1, round(log2(num_codes)))
        super().__init__(2**num_bits, dim)
        self.num_bits = num_bits
        self.commitment, self.entropy, self.diversity, self.temperature = commitment, entropy, diversity, temperature
        self.project_in, self.project_out = nn.Linear(dim, self.num_bits), nn.Linear(self.num_bits, dim)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        y = self.project_in(Q.flatten(z, self.dim))  # (N, L)
        codes = Q.code_map(Q.pack_bits(y), z)
        y_q = Q.signs(y)
        logits = 4 * y / self.temperature  # ln p(bit 1) − ln p(bit 0)
        certainty = Q.bit_entropy(logits).mean()
        variety = Q.entropy(Q.all_mean(Q.mean_bit_posterior(logits)))
        loss = self.commitment * F.mse_loss(y, y_q) + self.entropy * (certainty - self.diversity * variety)
        z_q = Q.unflatten(self.project_out(Q.straight_through(y, y_q)), z)
        return QuantizerOutput(z_q, codes, loss, Q.usage_logs(Q.code_counts(codes, self.num_codes)))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        Q.require_codes(codes, depth=1)
        y_q = Q.unpack_bits(codes.flatten(), self.num_bits).to(self.project_out.weight.dtype)
        return Q.unflatten(self.project_out(y_q), codes.permute(0, 3, 1, 2))
