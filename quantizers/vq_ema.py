"""VQ-VAE with a codebook of exponential moving averages."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any, ClassVar, Literal

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

    ``distance="cosine"``: features u = z/‖z‖, k = argmax ⟨u, e_k⟩, M_k is the average of u and e_k = M_k/‖M_k‖, so the
    decoder gets unit codes; the loss is β·mean((sg e − u)²), straight-through to u. Codes start at U(±√(3/D))/‖·‖, M at
    the codes, so a code that is never used stays. The preset ``vq_ema_cosine`` has the defaults of the cosine codebook
    of vector-quantize-pytorch, γ = 0.8 and β = 1. Differs from it: there the rotation trick is on by default.
    """

    paper: ClassVar[str] = (
        "A. van den Oord, O. Vinyals, K. Kavukcuoglu, Neural Discrete Representation Learning (appendix A.1), "
        "NeurIPS 2017, arXiv 1711.00937"
    )
    LATER: ClassVar[Mapping[str, Any]] = {"distance": "l2"}
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "vq_ema_cosine": {"distance": "cosine", "beta": 1.0, "decay": 0.8}
    }

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: NonNegativeFloat = 0.25,
        decay: Decay = 0.99,
        epsilon: PositiveFloat = 1e-5,
        distance: Literal["l2", "cosine"] = "l2",
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require_choice("distance", distance, Q.Distance)
        Q.require(0 < decay < 1, f"decay must lie between 0 and 1, not {decay}")
        self.beta, self.decay, self.epsilon = beta, decay, epsilon
        self.cosine = distance == "cosine"
        codebook = Q.initial_codebook(num_codes, dim, "sonnet")
        self.codebook = nn.Buffer(F.normalize(codebook, dim=1) if self.cosine else codebook)
        self.average_counts = nn.Buffer(torch.zeros(num_codes))
        self.average_sums = nn.Buffer(self.codebook.clone() if self.cosine else torch.zeros(num_codes, dim))
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training, update the codebook after it."""
        if self.cosine:
            z = F.normalize(z, dim=1)  # of unit vectors, the code of the smallest distance has the largest cosine
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
        means = self.average_sums * debias / smoothed[:, None]
        self.codebook.copy_(F.normalize(means, dim=1) if self.cosine else means)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
