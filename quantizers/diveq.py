"""DiVeQ: in training, the quantization error in a slightly noisy direction."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

import vqbench.functional as Q
from vqbench.bounds import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat
from vqbench.quantizers.nsvq import NSVQ


class DiVeQ(NSVQ):
    """Quantize with a gradient through the distance to the code, without a loss.

    In training z_q = z + ‖c − z‖·sg(v/‖v‖), v = c − z + n, with c the nearest code and n ~ N(0, σ²·I),
    σ = ``noise``: almost the code, about σ·√(D − 1) away from it. The decoder's gradient reaches z and, by the length,
    c. In evaluation z_q = c, with a straight-through gradient. Rare codes are replaced as in nsvq.

    Codes start at U(0, 1/K), all in the positive orthant, as in the released package.

    The released code calls σ a variance (``noise_var``), but uses it as a standard deviation, as here and in the paper.

    Differs from the released code, version 0.1.3 of the package diveq: there ``eval()`` changes nothing, and z_q = c is
    what a method ``inference`` returns. The option ``directional_reparam`` of lucidrains has a deviation of 0.07.
    """

    paper: ClassVar[str] = (
        "M. H. Vali, T. Bäckström, A. Solin, DiVeQ: Differentiable Vector Quantization Using the Reparameterization "
        "Trick, ICLR 2026, arXiv 2509.26469"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        noise: PositiveFloat = 1e-3,
        replace_every: NonNegativeInt = 100,
        discard: Fraction = 0.01,
        perturbation: NonNegativeFloat = 1e-9,
    ) -> None:
        super().__init__(num_codes, dim, replace_every=replace_every, discard=discard, perturbation=perturbation)
        Q.require(noise > 0, f"noise must be positive, not {noise}")
        self.noise = noise

    def direction(self, error: Tensor) -> Tensor:
        """Draw the direction of z_q − z for each ``error`` c − z (N, dim), of any length."""
        return error + self.noise * super().direction(error)
