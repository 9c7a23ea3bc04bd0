"""Fixed codes on the unit sphere, random or a Fibonacci lattice."""

from __future__ import annotations

from math import pi
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Halved
from vqbench.quantizer import Quantizer, QuantizerOutput


class Spherical(Quantizer):
    """Choose the nearest of fixed codes on the unit sphere.

    The codes do not learn.
    u = y/‖y‖ of y = z projected to ``code_dim`` = D' channels, k = argmax_k ⟨u, e_k⟩, ‖e_k‖ = 1, straight-through from
    e_k to u, so the gradient at y is tangential. The decoder gets e_k, projected back to ``dim``. There is no loss.

    ``points`` = ``random``: normal vectors divided by their length, drawn with the other initial weights and saved with
    them. ``fibonacci``, the same in every run: with i = 0 … K − 1 and φ > 0 the root of φ^(D'−1) = φ + 1, the numbers
    (i + ½)/K and, for j = 1 … D' − 2, the fractional part of (i + ½)·φ^(−j) are the quantiles of the D' − 1 angles of
    a uniform point on the sphere. In three dimensions φ is the golden ratio and this is the Fibonacci lattice.

    The linear maps start at U(±1/√fan-in), PyTorch's default.

    Differs from the released code, whose codes are the 196,560 shortest vectors of the Leech lattice in 24 dimensions:
    its steps from z to the decoder and its ``code_dim`` are followed, and neither of the codes here is in it. The paper
    compares random codes and generalised Fibonacci lattices; whether its lattices are those above is not known. The
    linear maps are outside the quantizer there.
    """

    paper: ClassVar[str] = (
        "Y. Zhao, H. Jiang, Z. Xu, C. Yang, E. Adeli, P. Krähenbühl, Spherical Leech Quantization for Visual "
        "Tokenization and Generation, CVPR 2026, arXiv 2512.14697"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        points: Literal["random", "fibonacci"] = "random",
        code_dim: Halved = 24,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require_choice("points", points, Literal["random", "fibonacci"])
        Q.require(code_dim >= 2, f"code_dim must be at least 2, not {code_dim}")
        if points == "random":
            codebook = F.normalize(Q.initial_codebook(num_codes, code_dim, "normal"), dim=1)
        else:
            codebook = fibonacci(num_codes, code_dim)
        self.codebook = nn.Buffer(codebook)
        self.project_in, self.project_out = nn.Linear(dim, code_dim), nn.Linear(code_dim, dim)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        u = F.normalize(self.project_in(Q.flatten(z, self.dim)), dim=1)  # (N, code_dim)
        codes = Q.assign(u, self.codebook, "cosine")
        rows = self.project_out(Q.straight_through(u, F.embedding(codes, self.codebook)))
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(Q.unflatten(rows, z), Q.code_map(codes, z), z.new_zeros(()), logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        Q.require_codes(codes, depth=1)
        return Q.unflatten(self.project_out(F.embedding(codes.flatten(), self.codebook)), codes.permute(0, 3, 1, 2))


def fibonacci(num_codes: int, dim: int) -> Tensor:
    """Return the Fibonacci lattice (num_codes, dim) on the unit sphere."""
    Q.require(num_codes >= 1, f"num_codes must be at least 1, not {num_codes}")
    steps = torch.arange(num_codes, dtype=torch.float64) + 0.5
    ratio = 2.0
    for _ in range(100):  # φ = (φ + 1)^(1/(D−1)); the error falls by a factor of 2 or more
        ratio = (1 + ratio) ** (1 / (dim - 1))
    radius, columns = torch.ones(num_codes, dtype=torch.float64), []
    for angle in range(dim - 1):
        quantile = steps / num_codes if angle == 0 else (steps * ratio**-angle) % 1
        theta = angle_at(quantile, dim - 2 - angle)
        columns.append(radius * theta.cos())
        radius = radius * theta.sin()
    return F.normalize(torch.stack([*columns, radius], 1), dim=1).to(torch.get_default_dtype())


def angle_at(quantile: Tensor, power: int) -> Tensor:
    """Return the angles (K,) at the ``quantile`` (K,) of a density ∝ sin(θ)^power.

    θ lies in [0, π]; with ``power`` 0, the last angle of a point, in [0, 2π).
    """
    if power == 0:
        return 2 * pi * quantile
    low, high = torch.zeros_like(quantile), torch.full_like(quantile, pi)
    wanted = quantile * sine_integral(high, power)
    for _ in range(60):  # bisection, to rounding
        middle = (low + high) / 2
        below = sine_integral(middle, power) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def sine_integral(theta: Tensor, power: int) -> Tensor:
    """Return ∫₀^θ sin(t)^power dt by its recursion from ``power`` 0 or 1."""
    total = theta if power % 2 == 0 else 1 - theta.cos()
    for m in range(power % 2 + 2, power + 1, 2):
        total = (m - 1) / m * total - theta.cos() * theta.sin() ** (m - 1) / m
    return total
