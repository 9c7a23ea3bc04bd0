"""The rotation trick: the encoder's gradient is rotated onto the chosen code."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

import vqbench.functional as Q
from vqbench.bounds import Decay, NonNegativeFloat
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.vq import VQ
from vqbench.quantizers.vq_ema import VQEMA
from vqbench.quantizers.vq_ema_restart import VQEMARestart


class Rotation(Quantizer):
    """A codebook method whose gradient is rotated instead of straight-through.

    The gradient g becomes λRᵀg; the decoder's input is unchanged.

    λ = ‖e‖/‖z‖ and R = I − 2rrᵀ + 2êẑᵀ with r = (ẑ + ê)/‖ẑ + ê‖ rotate z onto its code e: e = λRz. So the angle between
    the gradient and e is that between the encoder's gradient and z. Norms are at least 1e-6.

    ``codebook``: ``ema`` (the paper's; vq_ema), ``restart`` (vq_ema_restart), ``gradient`` (vq) or ``cvq``, each with
    its own start and defaults, except β and, for the first two, the decay. β = 1 and the decay 0.8 are the released
    code's defaults.

    Differs from the released code, which averages without debiasing: here ``ema`` is this project's vq_ema. There codes
    start at U(±√(6/(K·D))), the sums M at the codes, the counts N at 0, so that the first update stretches a code that
    was never used to some 10⁵ times its length, which then shrinks by the decay per update; here such codes start at
    U(±√(3/D)) and are zero after the first update. There the rotation divides by norms + 1e-6.
    """

    paper: ClassVar[str] = (
        "C. Fifty, R. G. Junkins, D. Duan, A. Iyengar, J. W. Liu, E. Amid, S. Thrun, C. Ré, Restructuring Vector "
        "Quantization with the Rotation Trick, ICLR 2025, arXiv 2410.06424"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        codebook: Literal["ema", "restart", "gradient", "cvq"] = "ema",
        beta: NonNegativeFloat = 1.0,
        decay: Decay = 0.8,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require_choice("codebook", codebook, Literal["ema", "restart", "gradient", "cvq"])
        if codebook == "ema":
            self.inner: Quantizer = VQEMA(num_codes, dim, beta=beta, decay=decay)
        elif codebook == "restart":
            self.inner = VQEMARestart(num_codes, dim, beta=beta, decay=decay)
        else:
            self.inner = (VQ if codebook == "gradient" else CVQ)(num_codes, dim, beta=beta)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W) as the inner method, with another gradient."""
        out = self.inner(z)
        out.z_q = Q.rotate(z, out.z_q)
        return out

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return self.inner.decode(codes)
