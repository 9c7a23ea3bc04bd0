"""Gumbel-softmax: a relaxed sample of the codes, from the encoder's logits."""

from __future__ import annotations

from math import cos, log, pi
from typing import ClassVar

import torch
import torch.nn.functional as F
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

        def weigh_codes(rows: Tensor, noise: Tensor | None, codebook: Tensor, *linear: Tensor) -> tuple[Tensor, ...]:
            logits = F.linear(rows, *linear)  # (n, K)
            negentropy, _ = Q.posterior_sums(-logits, 1e-10 / self.num_codes)  # q ln(K·q + 1e-10), without its ln K
            if noise is None:
                codes = logits.argmax(1)
                return codebook[codes], codes, negentropy
            sample, weights = Q.relaxed_sample(logits, noise, self.temperature, codebook)
            return sample, weights.argmax(1), negentropy

        features, shared = Q.flatten(z, self.dim), [self.codebook, self.logits.weight, self.logits.bias]
        rows, codes, negentropy = Q.map_chunks(weigh_codes, features, self.num_codes, shared, noisy=self.training)
        loss = self.kl * (negentropy / features.shape[0] + log(self.num_codes))
        counts = Q.code_counts(codes, self.num_codes)
        return QuantizerOutput(Q.unflatten(rows, z), Q.code_map(codes, z), loss, Q.usage_logs(counts))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)

    def anneal(self, progress: float) -> None:
        """Set the temperature: half a cosine from start to end in ``progress``."""
        start, end = self.temperatures
        self.temperature.fill_(end + (start - end) * (1 + cos(pi * progress)) / 2)
