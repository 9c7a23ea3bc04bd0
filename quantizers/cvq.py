"""CVQ-VAE: codes that no feature chooses are moved onto features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Decay, NonNegativeFloat, PositiveFloat
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq import VQ


class CVQ(VQ):
    """The online clustered codebook: VQ, and after every training step a relocation of the unused codes.

    With q_k the share of the step's features that chose code k: p_k ← γp_k + (1 − γ)q_k,
    α_k = exp(−10·K·p_k/(1 − γ) − 1e-3), e_k ← (1 − α_k)·e_k + α_k·a_k, where the anchor a_k is a feature of the batch:
    ``random``, ``unique`` (without repeats), ``probability`` (softmax over the features of their similarity to the
    code) or ``closest``. Offline (``online=False``) this happens once, at the first training step. ``contrastive``
    adds −ln[exp(pos/τ)/(exp(pos/τ) + Σ exp(neg/τ))], which pulls every code towards its most similar features.

    Assignment, loss and contrastive term, and their gradients, are those of the codebook before the step's relocation.
    Differs from the released code: it rebinds the weights before the backward pass, which under ``cosine`` mixes the
    relocated vectors into the contrastive term's gradient and makes it too large by orders of magnitude for codes that
    were just relocated (``contrastive_gradient="released"`` does the same, as torch 2 computes it); ``random`` always
    draws from the current batch, where a batch with fewer features than codes goes to a pool there; ``unique`` is not
    in it and follows the paper's name for it (a permutation, repeated where features run short); whether the one
    offline relocation is done is saved; exact ties go to the lowest index, there mostly to the highest, as its sort is
    not stable.

    ``closest`` moves unused codes near one feature to almost the same place. Which of such near-duplicates is chosen
    is decided by rounding, so its runs are not reproducible beyond it: on another machine they part.

    Codes start at U(±1/K), the usage p at 0, as in the released code. With several ranks all of it, the contrastive
    term too, is that of the global batch.
    """

    paper: ClassVar[str] = "C. Zheng, A. Vedaldi, Online Clustered Codebook, ICCV 2023, arXiv 2307.15139"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cvq_offline": {"online": False, "contrastive": False},
        "cvq_online": {"online": True, "contrastive": False},
    }

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        distance: Literal["l2", "cosine"] = "cosine",
        anchor: Literal["random", "unique", "probability", "closest"] = "probability",
        online: bool = True,
        contrastive: bool = True,
        contrastive_gradient: Literal["exact", "released"] = "exact",
        beta: NonNegativeFloat = 0.25,
        decay: Decay = 0.99,
        sharpness: NonNegativeFloat = 10.0,
        epsilon: NonNegativeFloat = 1e-3,
        temperature: PositiveFloat = 0.07,
    ) -> None:
        super().__init__(num_codes, dim, distance=distance, beta=beta)
        Q.require_choice("anchor", anchor, Q.Anchor)
        Q.require_choice("contrastive_gradient", contrastive_gradient, Literal["exact", "released"])
        Q.require(0 <= decay < 1, f"decay must be at least 0 and below 1, not {decay}")
        Q.require(temperature > 0, f"temperature must be positive, not {temperature}")
        self.anchor: Q.Anchor = anchor
        self.online, self.contrastive, self.contrastive_gradient = online, contrastive, contrastive_gradient
        self.decay, self.sharpness, self.epsilon, self.temperature = decay, sharpness, epsilon, temperature
        self.usage = nn.Buffer(torch.zeros(num_codes))  # p
        self.relocated = nn.Buffer(torch.zeros((), dtype=torch.bool))
        self._relocation_done = (
            False  # ``relocated`` of an offline codebook on the host: skips the anchors without a sync
        )

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training, add the contrastive term and relocate the codebook after it."""
        before = self.codebook.clone()  # backward must not see the relocation
        out = self.quantize(z, before)
        if self.training:
            features = Q.flatten(z, self.dim).detach()
            if self.contrastive:
                rebound = self.codebook if self.contrastive_gradient == "released" else None
                out.loss = out.loss + Q.contrastive_loss(features, before, self.distance, self.temperature, rebound)
            self.relocate(features, out.codes)
        return out

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._relocation_done = False  # ``relocated`` was loaded; the next step draws anchors once more in any case

    @torch.no_grad()
    def relocate(self, features: Tensor, codes: Tensor) -> None:
        """Update the usage from ``codes``, and move the codes towards their anchors among ``features`` (N, dim)."""
        self.usage.lerp_(Q.shares(Q.code_counts(codes, self.num_codes)).to(self.usage.dtype), 1 - self.decay)
        if self._relocation_done:
            return
        anchors = Q.anchors(self.anchor, features, self.codebook, self.distance)  # (K, dim)
        alpha = torch.exp(-self.sharpness * self.num_codes * self.usage / (1 - self.decay) - self.epsilon)
        if not self.online:
            alpha = alpha.masked_fill(self.relocated, 0)
        self.codebook.lerp_(anchors, alpha[:, None])
        self.relocated.fill_(True)
        self._relocation_done = not self.online
