"""VQ with an entropy term: features certain of their code, codes equally used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq import VQ


class EntropyVQ(VQ):
    """vq with an entropy term in its loss.

    With p_i = softmax_k(−‖z_i − e_k‖²/T): loss = vq's + entropy·(certainty·mean_i H(p_i) − H(mean_i p_i)).

    The second entropy is that of the global batch. The gradients of both reach the features and all codes. Memory grows
    with N·K.

    Entropy 0.1, T = 0.01 and the codes' start at U(±√(3/K)) are those of MaskGIT's released code. The preset ``seqgan``
    has SeQ-GAN's term alone, −0.01·H(mean p) with T = 1; its text adds H, but its stated aim, a smooth use of the
    codes, requires subtracting it. Its codes start at U(±√(3/K)) too, since SeQ-GAN's own start is not known.

    Differs from MaskGIT's released code: entropies have no 1e-5 inside their logarithms.
    """

    paper: ClassVar[str] = (
        "H. Chang, H. Zhang, L. Jiang, C. Liu, W. T. Freeman, MaskGIT: Masked Generative Image Transformer, "
        "CVPR 2022, arXiv 2202.04200; Y. Gu et al., Rethinking the Objectives of Vector-Quantized Tokenizers "
        "(SeQ-GAN), CVPR 2024, arXiv 2212.03185"
    )
    VERSION: ClassVar[int] = 2  # 2: codes start at U(±√(3/K)) instead of U(±1/K)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "seqgan": {"entropy": 0.01, "certainty": 0.0, "temperature": 1.0}
    }

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: NonNegativeFloat = 0.25,
        entropy: NonNegativeFloat = 0.1,
        certainty: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 0.01,
    ) -> None:
        super().__init__(num_codes, dim, beta=beta)
        Q.require(temperature > 0, f"temperature must be positive, not {temperature}")
        self.entropy, self.certainty, self.temperature = entropy, certainty, temperature
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "maskgit"))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        out = self.quantize(z, self.codebook)
        distances = Q.squared_distances(Q.flatten(z, self.dim), self.codebook)  # (N, K)
        each, mean = Q.mean_and_total_entropy(-distances / self.temperature)
        out.loss = out.loss + self.entropy * (self.certainty * each - mean)
        return out
