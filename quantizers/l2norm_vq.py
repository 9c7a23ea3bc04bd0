"""Codes of few dimensions on the unit sphere (ViT-VQGAN, LlamaGen)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, Width
from vqbench.quantizer import Quantizer, QuantizerOutput


class L2NormVQ(Quantizer):
    """VQ between unit vectors of few dimensions.

    Features u = y/‖y‖ of y = z projected to ``code_dim`` channels, codes ê_k = e_k/‖e_k‖.

    k(i) = argmax_k ⟨u_i, ê_k⟩. loss = mean((ê − sg u)²) + β·mean((sg ê − u)²), means over features and ``code_dim``;
    straight-through from ê to u. The decoder gets the unit code, projected back to ``dim``. Codes e start at N(0, 1).

    ``code_dim``: 8 in LlamaGen, 32 in ViT-VQGAN. The linear maps start at U(±1/√fan-in), PyTorch's default.

    Differs from LlamaGen: its codes start in a small cube (U(±1/K)), which after normalisation favours the cube's
    corners, and with length 1, so that an update turns them further than codes of length √``code_dim``; its loss is 0
    in evaluation. Of ViT-VQGAN, only a reimplementation is public, whose start is followed.
    """

    paper: ClassVar[str] = (
        "J. Yu et al., Vector-quantized Image Modeling with Improved VQGAN, ICLR 2022, arXiv 2110.04627; "
        "P. Sun et al., Autoregressive Model Beats Diffusion (LlamaGen), 2024, arXiv 2406.06525"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "vit_vqgan": {"code_dim": 32},
        "llamagen": {"code_dim": 8},
    }

    def __init__(self, num_codes: int, dim: int, *, code_dim: Width = 8, beta: NonNegativeFloat = 0.25) -> None:
        super().__init__(num_codes, dim)
        self.beta = beta
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, code_dim, "normal"))
        self.project_in, self.project_out = nn.Linear(dim, code_dim), nn.Linear(code_dim, dim)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        u = F.normalize(self.project_in(Q.flatten(z, self.dim)), dim=1)  # (N, code_dim)
        codebook = F.normalize(self.codebook, dim=1)
        codes = Q.assign(u, codebook, "cosine")
        u_q = F.embedding(codes, codebook)
        z_q = Q.unflatten(self.project_out(Q.straight_through(u, u_q)), z)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(z_q, Q.code_map(codes, z), Q.vq_loss(u, u_q, self.beta), logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        Q.require_codes(codes, depth=1)
        rows = F.embedding(codes.flatten(), F.normalize(self.codebook, dim=1))
        return Q.unflatten(self.project_out(rows), codes.permute(0, 3, 1, 2))
