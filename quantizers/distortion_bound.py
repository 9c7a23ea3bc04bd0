"""No method, but a number: the error that theory gives for K codes."""

from __future__ import annotations

from math import e, exp, inf, log, pi, sqrt
from typing import ClassVar, Literal

import torch
from torch import Tensor

import vqbench.functional as Q
from vqbench.quantizer import Quantizer, QuantizerOutput

Bound = Literal["rate_distortion", "zador"]
Source = Literal["gaussian", "uniform"]
CONSTANTS = {1: 1 / 12, 2: 5 / (36 * sqrt(3))}  # G of the interval and of the hexagon, the best cells of 1 and 2 dim


class DistortionBound(Quantizer):
    """Shrink the features so that their error is the one that theory gives.

    z_q = (1 − √d)·z, so that ‖z − z_q‖² = d·‖z‖² for every feature: a row of a table with the relative error d, for
    sources of D independent values with mean 0. Nothing is coded: ``depth`` is 0, ``codes`` is (B, H, W, 0), ``bits``
    is infinite and ``decode`` raises. With K = ``num_codes`` and D = ``dim``:

    ``rate_distortion``: d = c·K^(−2/D), below which no code of K words can be. c = 1 is the Gaussian's
    rate-distortion function; c = 6/(πe) = 0.703 is Shannon's lower bound for uniform values.

    ``zador``: d = G·‖p‖·K^(−2/D), which the best codebook approaches as K grows, from above or below. ‖p‖ is the norm
    of the density p of order D/(D + 2), per dimension and variance: 2π·((D + 2)/D)^((D + 2)/2) if Gaussian, 12 if
    uniform. G is the least normalised second moment of a cell, which is proven for D = 1 (1/12, the interval) and
    D = 2 (5/(36√3), the regular hexagon: L. Fejes Tóth, Sur la représentation d'une population infinie par un nombre
    fini d'éléments, Acta Mathematica Hungarica 10, 1959). For more dimensions it is only known between bounds:
    UsageError.
    """

    paper: ClassVar[str] = (
        "C. E. Shannon, Coding Theorems for a Discrete Source With a Fidelity Criterion, IRE National Convention "
        "Record 7, 1959; P. L. Zador, Asymptotic Quantization Error of Continuous Signals and the Quantization "
        "Dimension, IEEE Transactions on Information Theory 28, 1982 (no arXiv versions)"
    )
    upper_bound: ClassVar[bool] = True

    def __init__(
        self, num_codes: int, dim: int, *, bound: Bound = "rate_distortion", source: Source = "gaussian"
    ) -> None:
        super().__init__(num_codes, dim, depth=0)
        Q.require_choice("bound", bound, Bound)
        Q.require_choice("source", source, Source)
        Q.require(
            bound == "rate_distortion" or dim in CONSTANTS,
            f"the constant of bound: zador is known for dim 1 and 2, not for {dim}; leave that dim out",
        )
        self.error = relative_error(num_codes, dim, bound, source)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Shrink ``z`` (B, dim, H, W); the loss is zero."""
        codes = torch.empty(z.shape[0], *z.shape[2:], 0, dtype=torch.int64, device=z.device)
        return QuantizerOutput((1 - sqrt(self.error)) * z, codes, z.new_zeros(()))

    def decode(self, codes: Tensor) -> Tensor:
        """Raise UsageError: without codes nothing can be decoded."""
        Q.require(False, "the quantizer 'distortion_bound' is a number and has no codes to decode; choose a method")
        return codes

    @property
    def bits(self) -> float:
        """Infinity: a position is not quantized."""
        return inf


def relative_error(num_codes: int, dim: int, bound: Bound, source: Source) -> float:
    """Return ‖z − z_q‖² / Var z of a bound, see :class:`DistortionBound`.

    >>> round(relative_error(16, 2, "rate_distortion", "gaussian"), 4)
    0.0625
    >>> round(relative_error(10, 1, "zador", "gaussian"), 4)  # √3·π/2 / K², of Panter and Dite
    0.0272
    """
    if bound == "rate_distortion":
        factor = 1.0 if source == "gaussian" else 6 / (pi * e)
    else:
        norm = 2 * pi * ((dim + 2) / dim) ** ((dim + 2) / 2) if source == "gaussian" else 12.0
        factor = CONSTANTS[dim] * norm
    return factor * exp(-2 * log(num_codes) / dim)  # K^(−2/D)
