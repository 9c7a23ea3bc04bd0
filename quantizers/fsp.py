"""Finite scalar perturbation: bounded noise in training, bins in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi, prod, sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Fraction, NonNegativeFloat
from vqbench.quantizer import Quantizer, QuantizerOutput

Activation = Literal["tanh", "sigmoid", "normal", "laplace", "cauchy"]
Norm = Literal["none", "var", "var_tanh", "var_sigmoid", "var_laplace", "kurt"]

CDFS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda y: (torch.tanh(y) + 1) / 2,
    "sigmoid": torch.sigmoid,
    "normal": lambda y: (1 + torch.erf(y / sqrt(2))) / 2,
    "laplace": lambda y: (1 + torch.sign(y) * (1 - torch.exp(-y.abs()))) / 2,
    "cauchy": lambda y: torch.arctan(y) / pi + 0.5,
}
VARIANCES: Mapping[str, float] = {"var": 1.0, "kurt": 1.0, "var_tanh": 0.8225, "var_sigmoid": 3.29, "var_laplace": 2.0}
DEVIATION = 1 / sqrt(12)  # of a uniform number in [0, 1]


class FSP(Quantizer):
    """Perturb each of d channels by as much as one of its bins is wide.

    u = F(y) ∈ [0, 1] of y = z projected to d channels, with F a distribution function, ``activation``: ``tanh`` is
    (tanh(y) + 1)/2. Channel j has L_j bins; the code is Σ_j min(⌊L_j·u_j⌋, L_j − 1)·Π_{i<j} L_i.

    In evaluation û = (⌊L·u⌋ + ½)/L, the middle of the bin. In training û = u + n, n ~ U(±1/(2L)), or u itself where
    u + n leaves (0, 1); the share ``quantize_rate`` of the values, drawn anew each time, is rounded as in evaluation,
    with a straight-through gradient. The decoder gets (û − ½)·√12, of variance 1 for a uniform û.

    ``norm`` adds, with μ and v the mean and the unbiased variance of each channel of y over the global batch,
    ``norm_weight``·(0.1·mean(μ²) + 0.07·mean((v − t)²)), t = 1 (``var``), 0.8225 (``var_tanh``), 3.29 (``var_sigmoid``)
    or 2 (``var_laplace``); ``kurt`` is ``var`` plus 0.06·mean(skewness²) + 0.05·mean(excess kurtosis²). Else the loss
    is 0.

    ``levels`` reads like ``8x5x5x5``; with None they are those of fsq. Linear maps lead from ``dim`` to the d channels
    and back; they start at U(±1/√fan-in), PyTorch's default. The defaults are those of the authors' class; its
    port in vector-quantize-pytorch has ``norm=var_tanh``.

    Differs from the released code: no inverse of F before the decoder, an option there that is off by default.
    """

    paper: ClassVar[str] = (
        "L. Zhai et al., VP-VAE: Rethinking Vector Quantization via Adaptive Vector Perturbation, 2026, "
        "arXiv 2602.17133"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        levels: str | None = None,
        activation: Activation = "tanh",
        quantize_rate: Fraction = 0.0,
        norm: Norm = "none",
        norm_weight: NonNegativeFloat = 1.0,
    ) -> None:
        Q.require_choice("activation", activation, Activation)
        Q.require_choice("norm", norm, Norm)
        chosen = Q.scalar_levels(num_codes) if levels is None else Q.parse_levels(levels)
        super().__init__(prod(chosen), dim)
        self.activation, self.quantize_rate = activation, quantize_rate
        self.norm, self.norm_weight = norm, norm_weight
        self.levels = nn.Buffer(torch.tensor(chosen), persistent=False)
        radix = [prod(chosen[:channel]) for channel in range(len(chosen))]
        self.radix = nn.Buffer(torch.tensor(radix), persistent=False)
        self.project_in, self.project_out = nn.Linear(dim, len(chosen)), nn.Linear(len(chosen), dim)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        In training, perturb it instead; the codes are those of the unperturbed features.
        """
        y = self.project_in(Q.flatten(z, self.dim))  # (N, d)
        u = CDFS[self.activation](y)
        digits = (u * self.levels).nan_to_num().long().clamp(max=self.levels - 1)  # NaN: the loss is checked elsewhere
        u_q = Q.straight_through(u, self.middle(digits, u))
        if self.training and self.quantize_rate < 1:
            u_q = self.perturb(u, u_q)
        codes = Q.code_map((digits * self.radix).sum(1), z)
        z_q = Q.unflatten(self.project_out((u_q - 0.5) / DEVIATION), z)
        loss = self.norm_loss(y) if self.norm != "none" else z.new_zeros(())
        return QuantizerOutput(z_q, codes, loss, Q.usage_logs(Q.code_counts(codes, self.num_codes)))

    def middle(self, digits: Tensor, like: Tensor) -> Tensor:
        """Return the middles of the bins ``digits`` (…, d), in the type of ``like``."""
        return (digits.to(like.dtype) + 0.5) / self.levels

    def perturb(self, u: Tensor, u_q: Tensor) -> Tensor:
        """Return ``u`` (N, d) with noise, and ``u_q`` at the share ``quantize_rate``."""
        noise = (2 * Q.feature_uniform(*u.shape, device=u.device) - 1) / (2 * self.levels)
        moved = u + noise
        moved = torch.where((moved > 0) & (moved < 1), moved, u)
        if self.quantize_rate == 0:
            return moved
        return torch.where(Q.feature_uniform(*u.shape, device=u.device) > self.quantize_rate, moved, u_q)

    def norm_loss(self, y: Tensor) -> Tensor:
        """Return the weighted distance of the moments of ``y`` (N, d) from those wanted."""
        _, count = Q.shard(len(y))
        mean = Q.all_mean(y.mean(0))  # (d,)
        centred = y - mean
        variance = Q.all_mean(centred.square().mean(0)) * count / max(1, count - 1)
        loss = 0.1 * mean.square().mean() + 0.07 * (variance - VARIANCES[self.norm]).square().mean()
        if self.norm == "kurt":
            unit = centred / variance.clamp(min=1e-16).sqrt()
            skewness, kurtosis = Q.all_mean(unit.pow(3).mean(0)), Q.all_mean(unit.pow(4).mean(0)) - 3
            loss = loss + 0.06 * skewness.square().mean() + 0.05 * kurtosis.square().mean()
        return self.norm_weight * loss

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        Q.require_codes(codes, depth=1)
        digits = (codes // self.radix % self.levels).flatten(0, 2)  # (N, d)
        rows = self.project_out((self.middle(digits, self.project_out.weight) - 0.5) / DEVIATION)
        return Q.unflatten(rows, codes.permute(0, 3, 1, 2))
