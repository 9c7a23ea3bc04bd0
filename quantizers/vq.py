"""VQ-VAE with a codebook that learns by gradient."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class VQ(Quantizer):
    """Choose the nearest code, with a straight-through gradient.

    k(i) = argmin_k ‖z_i − e_k‖² (``l2``) or argmax_k of the cosine similarity (``cosine``), the lowest index on ties.
    loss = mean((e − sg z)²) + β·mean((sg e − z)²), means over features and dimensions. ``beta_on="codebook"`` puts β on
    the first term instead, as taming-transformers does by default. ``init``: ``uniform`` U(±1/K), as in VQGAN and
    CVQ; ``sonnet`` U(±√(3/D)), as in DeepMind's example.

    Under ``cosine`` only the assignment is normalised, as in CVQ's released code: the decoder gets the code vector
    itself, and the loss compares the vectors as they are.
    """

    paper: ClassVar[str] = (
        "A. van den Oord, O. Vinyals, K. Kavukcuoglu, Neural Discrete Representation Learning, "
        "NeurIPS 2017, arXiv 1711.00937"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        distance: Literal["l2", "cosine"] = "l2",
        beta: NonNegativeFloat = 0.25,
        beta_on: Literal["commitment", "codebook"] = "commitment",
        init: Literal["uniform", "sonnet"] = "uniform",
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require_choice("distance", distance, Q.Distance)
        Q.require_choice("beta_on", beta_on, Literal["commitment", "codebook"])
        self.distance: Q.Distance = distance
        self.weights = (beta, 1.0) if beta_on == "commitment" else (1.0, beta)  # of commitment, of codebook
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, init))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        return self.quantize(z, self.codebook)

    def quantize(self, z: Tensor, codebook: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W) with ``codebook`` (num_codes, dim)."""
        codes = Q.code_map(Q.assign(Q.flatten(z, self.dim), codebook, self.distance), z)
        z_q = Q.look_up(codes, codebook)
        commitment, learning = self.weights
        loss = commitment * F.mse_loss(z, z_q.detach()) + learning * F.mse_loss(z_q, z.detach())
        counts = Q.code_counts(codes, self.num_codes)
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss, Q.usage_logs(counts))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
