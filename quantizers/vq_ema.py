"""VQ-VAE with a codebook of exponential moving averages."""

from __future__ import annotations

from math import log
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Decay, NonNegativeFloat, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class VQEMA(Quantizer):
    """Choose the nearest code, a running mean of the features assigned to it.

    N_k and M_k are the moving averages of the counts n_k and sums m_k of each step, h ← γh + (1 − γ)·value for both,
    debiased by 1/(1 − γ^t):
    e_k = M_k / Ñ_k, Ñ_k = (N_k + ε)/(n + Kε)·n, n = Σ N_k. The loss is β·mean((sg e − z)²), in training and evaluation
    alike. The step's features are assigned with the old codebook; the new one is used from the next step on.

    As in DeepMind's Sonnet 2, codes start at U(±√(3/D)) and the averages at zero, so after the first step a code that
    was never used is zero. Differs from it: nothing known.
    """

    paper: ClassVar[str] = (
        "A. van den Oord, O. Vinyals, K. Kavukcuoglu, Neural Discrete Representation Learning (appendix A.1), "
        "NeurIPS 2017, arXiv 1711.00937"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: NonNegativeFloat = 0.25,
        decay: Decay = 0.99,
        epsilon: PositiveFloat = 1e-5,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(0 < decay < 1, f"decay must lie between 0 and 1, not {decay}")
        self.beta, self.decay, self.epsilon = beta, decay, epsilon
        self.codebook = nn.Buffer(Q.initial_codebook(num_codes, dim, "sonnet"))
        self.average_counts = nn.Buffer(torch.zeros(num_codes))
        self.average_sums = nn.Buffer(torch.zeros(num_codes, dim))
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training, update the codebook after it."""
        features = Q.flatten(z, self.dim)
        codes = Q.code_map(Q.assign(features, self.codebook), z)
        z_q = Q.look_up(codes, self.codebook)
        counts = Q.code_counts(codes, self.num_codes)
        if self.training:
            self.update(counts, Q.code_sums(features.detach(), codes, self.num_codes))
        loss = self.beta * F.mse_loss(z, z_q)
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss, Q.usage_logs(counts))

    @torch.no_grad()
    def update(self, counts: Tensor, sums: Tensor) -> None:
        """Update the averages by ``counts`` (K,) and ``sums`` (K, dim).

        The codebook is then computed from them.
        """
        self.steps.add_(1)
        self.average_counts.lerp_(counts.to(sums.dtype), 1 - self.decay)
        self.average_sums.lerp_(sums, 1 - self.decay)
        debias = -1 / torch.expm1(self.steps * log(self.decay))  # 1/(1 − γ^t), exact for small t
        n_k = self.average_counts * debias  # (K,)
        n = n_k.sum()
        smoothed = (n_k + self.epsilon) / (n + self.num_codes * self.epsilon) * n
        self.codebook.copy_(self.average_sums * debias / smoothed[:, None])

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
