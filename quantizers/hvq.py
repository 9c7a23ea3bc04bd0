"""HVQ-VAE: a stochastic quantizer with a relaxed sample, as one level."""

from __future__ import annotations

from math import log
from typing import ClassVar

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from vqbench.quantizer import Quantizer, QuantizerOutput


class HVQ(Quantizer):
    """One level of "Hierarchical Quantized Autoencoders": its quantizer.

    A reading of the paper, not a reproduction.

    With d_ik = ‖z_i − e_k‖²: posterior q = softmax_k(−d); in training z_q,i = Σ_k y_ik e_k, y = softmax((g − d)/τ)
    with Gumbel noise g and τ falling linearly; in evaluation the nearest code. KL = Σ q (ln(q + 1e-9) + ln K) and
    commitment = Σ q·d are summed over positions and averaged over images; nothing stops a gradient.
    loss = kl·KL + commitment·commitment, and the objective adds loss / pixels.

    Every ``reset_every`` training steps (0: never), if the least used code has less than ``reset_threshold`` of the
    count of the most used one, it becomes that code plus N(0, 0.01²), and all counts restart from 0.

    Codes start at N(0, 1).

    Differs from the original: one level instead of a greedily trained stack, this project's backbone and optimiser, and
    in evaluation the nearest code instead of a sample, which makes it deterministic. Memory grows with N·K.
    """

    paper: ClassVar[str] = (
        "W. Williams, S. Ringer, T. Ash, J. Hughes, D. MacLeod, J. Dougherty, Hierarchical Quantized Autoencoders, "
        "NeurIPS 2020, arXiv 2002.08111"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        kl: NonNegativeFloat = 1e-3,
        commitment: NonNegativeFloat = 1e-3,
        temperature_start: PositiveFloat = 0.667,
        temperature_end: PositiveFloat = 0.001,
        reset_every: PositiveInt = 20,
        reset_threshold: NonNegativeFloat = 0.03,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(min(temperature_start, temperature_end) > 0, "temperature_start and temperature_end must be positive")
        self.kl, self.commitment = kl, commitment  # the weights of the two terms
        self.temperatures = (temperature_start, temperature_end)
        self.reset_every, self.reset_threshold = reset_every, reset_threshold
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "normal"))
        self.temperature = nn.Buffer(torch.tensor(temperature_start))
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.counts = nn.Buffer(torch.zeros(num_codes, dtype=torch.int64))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        A relaxed sample in training, the nearest code in evaluation.
        """
        codebook = self.codebook.clone()  # for backward, which must not see a reset

        def weigh_codes(rows: Tensor, noise: Tensor | None, codebook: Tensor) -> tuple[Tensor, ...]:
            d = Q.squared_distances(rows, codebook)  # (n, K)
            negentropy, commitment = Q.posterior_sums(d, 1e-9)
            kl = negentropy + rows.shape[0] * log(self.num_codes)
            if noise is None:
                codes = d.argmin(1)
                return codebook[codes], codes, kl, commitment
            sample, weights = Q.relaxed_sample(-d, noise, self.temperature, codebook)
            return sample, weights.argmax(1), kl, commitment

        features = Q.flatten(z, self.dim)
        z_q, codes, kl, commitment = Q.map_chunks(
            weigh_codes, features, self.num_codes, [codebook], noisy=self.training
        )
        loss = (self.kl * kl + self.commitment * commitment) / z.shape[0]
        counts = Q.code_counts(codes, self.num_codes)
        if self.training and self.reset_every:
            self.reset(counts)
        return QuantizerOutput(Q.unflatten(z_q, z), Q.code_map(codes, z), loss, Q.usage_logs(counts))

    @torch.no_grad()
    def reset(self, counts: Tensor) -> None:
        """Count a step's codes (K,); if due, move the least used onto the most used."""
        self.steps.add_(1)
        self.counts.add_(counts)
        due = self.steps % self.reset_every == 0
        least, most = self.counts.argmin(0, keepdim=True), self.counts.argmax(0, keepdim=True)  # (1,)
        starved = due & (self.counts[least] < self.reset_threshold * self.counts[most])
        moved = self.codebook[most] + 0.01 * Q.shared_normal(1, self.dim, device=counts.device)
        self.codebook[least] = torch.where(starved[:, None], moved, self.codebook[least])
        self.counts.masked_fill_(due, 0)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)

    def objective(self, error: Tensor, out: QuantizerOutput, pixels: int, weight: float = 1.0) -> Tensor:
        """Return weight·error + loss / pixels.

        The original divides its sums by the number of elements of the target.
        """
        return weight * error + out.loss / pixels

    def anneal(self, progress: float) -> None:
        """Set the temperature, linear in ``progress``."""
        start, end = self.temperatures
        self.temperature.fill_(start + progress * (end - start))
