"""NSVQ: in training, noise of the length of the quantization error."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Fraction, NonNegativeFloat, NonNegativeInt
from vqbench.quantizer import Quantizer, QuantizerOutput


class NSVQ(Quantizer):
    """Replace the quantization error by noise of equal length.

    In training z_q = z + ‖c − z‖·sg(n/‖n‖) with c the nearest code and n ~ N(0, I): the decoder's gradient reaches z
    and, by the length, c; there is no loss. So z_q is not near c: its distance from it is about √2·‖c − z‖. In
    evaluation z_q = c, with a straight-through gradient.

    Every ``replace_every`` training steps (0: never), a code that occurred in less than the share ``discard`` of them
    becomes one of the others, drawn in proportion to the steps in which it occurred, plus N(0, σ²·I),
    σ = ``perturbation``. At the defaults this replaces the codes that did not occur in the last 100 steps. The
    optimizer's moments stay.

    Codes start at U(0, 1/K), all in the positive orthant, as in the released package.

    Differs from the released code, version 0.1.0 of the package nsvq: there ``eval()`` changes nothing, and z_q = c is
    what a method ``inference`` returns. arXiv 2606.11363 is another method of this name.
    """

    paper: ClassVar[str] = (
        "M. H. Vali, T. Bäckström, NSVQ: Noise Substitution in Vector Quantization for Machine Learning, IEEE Access "
        "10, 2022 (no arXiv version)"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        replace_every: NonNegativeInt = 100,
        discard: Fraction = 0.01,
        perturbation: NonNegativeFloat = 1e-9,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(replace_every >= 0, f"replace_every must not be negative, but is {replace_every}")
        self.replace_every, self.discard, self.perturbation = replace_every, discard, perturbation
        self.codebook = nn.Parameter((Q.initial_codebook(num_codes, dim, "uniform") + 1 / num_codes) / 2)
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.occurrences = nn.Buffer(torch.zeros(num_codes, dtype=torch.int64))  # training steps with the code

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        In training, substitute the error, and replace codes if due.
        """
        features = Q.flatten(z, self.dim)
        codes = Q.code_map(Q.assign(features, self.codebook), z)
        z_q = Q.look_up(codes, self.codebook)
        counts = Q.code_counts(codes, self.num_codes)
        if self.training:
            error = Q.flatten(z_q, self.dim) - features  # (N, dim)
            direction = F.normalize(self.direction(error.detach()), dim=1)
            z_q = z + Q.unflatten(torch.linalg.vector_norm(error, dim=1, keepdim=True) * direction, z)
            if self.replace_every:
                self.replace(counts)
        else:
            z_q = Q.straight_through(z, z_q)
        return QuantizerOutput(z_q, codes, z.new_zeros(()), Q.usage_logs(counts))

    def direction(self, error: Tensor) -> Tensor:
        """Draw the direction of z_q − z for each ``error`` c − z (N, dim), of any length."""
        return Q.feature_normal(*error.shape, device=error.device).to(error.dtype)

    @torch.no_grad()
    def replace(self, counts: Tensor) -> None:
        """Add a step's ``counts`` (K,); if due, move rare codes onto others."""
        self.steps.add_(1)
        self.occurrences.add_(counts > 0)
        due = self.steps % self.replace_every == 0
        rare = self.occurrences < self.discard * self.replace_every  # (K,)
        ends = self.occurrences.masked_fill(rare, 0).cumsum(0)  # of the codes' intervals in [0, total)
        drawn = Q.shared_uniform(self.num_codes, device=counts.device).double() * ends[-1]
        source = torch.searchsorted(ends, drawn.long(), right=True).clamp(max=self.num_codes - 1)
        noise = self.perturbation * Q.shared_normal(self.num_codes, self.dim, device=counts.device)
        moved = due & rare & (ends[-1] > 0)
        self.codebook.copy_(torch.where(moved[:, None], self.codebook[source] + noise, self.codebook))
        self.occurrences.masked_fill_(due, 0)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
