"""Gumbel-softmax: a relaxed sample of the codes, from the encoder's logits."""

from __future__ import annotations

from math import cos, pi
from typing import ClassVar

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class Gumbel(Quantizer):
    """Draw codes from logits that are linear in the features.

    Logits ℓ_i = Wz_i + b over the K codes, q = softmax(ℓ), independent of the code vectors.

    In training z_q,i = Σ_k y_ik e_k, y = softmax((ℓ + g)/τ) with Gumbel noise g; in evaluation the code of the
    largest logit. loss = kl·mean_i Σ_k q_ik ln(K·q_ik + 1e-10). Nothing stops a gradient.

    The temperature falls from ``temperature_start`` to ``temperature_end`` as half a cosine over the training, as in
    DALL-E, from 1 to 1/16. Codes start at N(0, 1), W and b at U(±1/√D), both as in taming-transformers'
    GumbelQuantize.

    Memory grows with N·K.

    Differs from DALL-E's: the weight of the KL is GumbelQuantize's, constant, and the temperature reaches its end with
    the training instead of after 150,000 updates. Differs from GumbelQuantize: there the temperature is constant, and
    by default the decoder gets the code of the largest sample instead of the relaxed one.
    """

    paper: ClassVar[str] = (
        "A. Ramesh et al., Zero-Shot Text-to-Image Generation, ICML 2021, arXiv 2102.12092; E. Jang, S. Gu, B. Poole, "
        "Categorical Reparameterization with Gumbel-Softmax, ICLR 2017, arXiv 1611.01144"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        kl: NonNegativeFloat = 5e-4,
        temperature_start: PositiveFloat = 1.0,
        temperature_end: PositiveFloat = 0.0625,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(min(temperature_start, temperature_end) > 0, "temperature_start and temperature_end must be positive")
        self.kl, self.temperatures = kl, (temperature_start, temperature_end)
        self.logits = nn.Linear(dim, num_codes)
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "normal"))
        self.temperature = nn.Buffer(torch.tensor(temperature_start))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        A relaxed sample in training, the most probable code in evaluation.
        """
        logits = self.logits(Q.flatten(z, self.dim))  # (N, K)
        codes = Q.code_map(logits.argmax(1), z)
        if self.training:
            sample = ((logits + Q.gumbel(len(logits), self.num_codes, z.device)) / self.temperature).softmax(1)
            codes, z_q = Q.code_map(sample.argmax(1), z), Q.unflatten(sample @ self.codebook, z)
        else:
            z_q = self.decode(codes)
        q = logits.softmax(1)
        loss = self.kl * (q * torch.log(q * self.num_codes + 1e-10)).sum(1).mean()
        return QuantizerOutput(z_q, codes, loss, Q.usage_logs(Q.code_counts(codes, self.num_codes)))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)

    def anneal(self, progress: float) -> None:
        """Set the temperature: half a cosine from start to end in ``progress``."""
        start, end = self.temperatures
        self.temperature.fill_(end + (start - end) * (1 + cos(pi * progress)) / 2)
