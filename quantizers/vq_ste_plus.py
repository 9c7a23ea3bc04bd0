"""VQ-STE++: an affine map of the codebook, and alternating optimisation."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Fraction, NonNegativeFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class VQSTEPlus(Quantizer):
    """Choose the nearest code of an affine map of the codebook.

    The codes are c_k = (1 + ηs)⊙e_k + ηb, where e, s and b (s = b = 0 at the start) learn.

    Affine reparametrisation, η = ``affine``: all codes move together, those never used too. Alternating optimisation:
    in training, after the assignment, e takes a step of gradient descent at the rate ``inner_rate`` on
    mean((c − sg z)²), and what follows uses the moved codes. Synchronised commitment, ν = ``synchronise``:
    z_q = z + sg(c − z) + ν(c − sg c). loss = (1 − β)·mean((sg c − z)²) + β·mean((c − sg z)²): β is the codebook's.

    The step moves no code further than onto the mean of its features; ``inner_rate=0`` leaves it out.

    Codes start at U(±1/K).

    Differs from vqtorch: there the inner step has momentum and no bound, and needs β = 1; here it uses counts and sums
    of the global batch. No code is replaced. There codes start at N(0, 1), or by k-means in its examples, and all three
    parts are off by default; η, ν and the inner rate are those of its examples.
    """

    paper: ClassVar[str] = (
        "M. Huh, B. Cheung, P. Agrawal, P. Isola, Straightening Out the Straight-Through Estimator: Overcoming "
        "Optimization Challenges in Vector Quantized Networks, ICML 2023, arXiv 2305.08842"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: Fraction = 0.95,
        affine: NonNegativeFloat = 10.0,
        synchronise: NonNegativeFloat = 0.2,
        inner_rate: NonNegativeFloat = 50.0,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(0 <= beta <= 1, f"beta must lie in [0, 1], not {beta}")
        Q.require(inner_rate >= 0, f"inner_rate must not be negative, but is {inner_rate}")
        self.beta, self.affine, self.synchronise, self.inner_rate = beta, affine, synchronise, inner_rate
        self.codes = nn.Parameter(Q.initial_codebook(num_codes, dim, "uniform"))
        self.scale = nn.Parameter(torch.zeros(dim))
        self.shift = nn.Parameter(torch.zeros(dim))

    @property
    def codebook(self) -> Tensor:
        """Return the effective codes (num_codes, dim), with a gradient."""
        return (1 + self.affine * self.scale) * self.codes + self.affine * self.shift

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        In training, the codes take a step of their own after the assignment.
        """
        features = Q.flatten(z, self.dim)
        codes = Q.code_map(Q.assign(features, self.codebook), z)
        counts = Q.code_counts(codes, self.num_codes)
        if self.training and self.inner_rate:
            self.step(counts, Q.code_sums(features.detach(), codes, self.num_codes))
        z_q = Q.look_up(codes, self.codebook)
        loss = (1 - self.beta) * F.mse_loss(z, z_q.detach()) + self.beta * F.mse_loss(z_q, z.detach())
        moved = Q.straight_through(z, z_q) + self.synchronise * (z_q - z_q.detach())
        return QuantizerOutput(moved, codes, loss, Q.usage_logs(counts))

    @torch.no_grad()
    def step(self, counts: Tensor, sums: Tensor) -> None:
        """Move the codes by one step of gradient descent.

        ``counts`` (K,) and ``sums`` (K, dim) are those of the global batch.
        """
        gain = 1 + self.affine * self.scale  # (dim,)
        mean = sums / counts.clamp(min=1)[:, None]
        rate = 2 * self.inner_rate / self.dim * Q.shares(counts)[:, None]  # of a code's own mean squared distance
        rate = torch.minimum(rate, 1 / gain.square())  # at 1/gain² the code lands on the mean
        self.codes.add_(rate * gain * (mean - self.codebook))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the effective code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
