"""CVQ-VAE with several codes per position, all from one codebook."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

import vqbench.functional as Q
from vqbench.bounds import Codes, NonNegativeFloat, Width
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.quantizers.cvq import CVQ


class CVQGrouped(Quantizer):
    """cvq of each of ``groups`` chunks of channels, with one shared codebook.

    A chunk is ``dim``/``groups`` neighbouring channels.

    The chunks of all positions together are the features of one cvq, which computes usage, anchors, contrastive term
    and loss over them. With four groups this is "CVQ-VAE 16x16x4" of the paper's table B.2, as far as its text says:
    as many chunks as in MoVQ. ``group_codes``: codes per chunk; with None the whole number whose ``groups``-th power is
    nearest to ``num_codes``, so that all chunks together cost what the suite's budget allows (512 codes: two chunks of
    23). Codes start at U(±1/K), K the codes of a chunk.

    No code of this setting was released.
    """

    paper: ClassVar[str] = "C. Zheng, A. Vedaldi, Online Clustered Codebook, ICCV 2023, arXiv 2307.15139"

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        groups: Width = 2,
        group_codes: Codes | None = None,
        distance: Literal["l2", "cosine"] = "cosine",
        anchor: Literal["random", "unique", "probability", "closest"] = "probability",
        contrastive: bool = True,
        contrastive_gradient: Literal["exact", "released"] = "exact",
        beta: NonNegativeFloat = 0.25,
    ) -> None:
        Q.require(groups >= 1, f"groups must be at least 1, not {groups}")
        codes = Q.nearest_root(num_codes, groups) if group_codes is None else group_codes
        super().__init__(codes, dim, depth=groups)
        Q.require(dim % groups == 0, f"a shared codebook needs groups that divide {dim}, not {groups}")
        self.chunks = CVQ(
            codes,
            dim // groups,
            distance=distance,
            anchor=anchor,
            contrastive=contrastive,
            contrastive_gradient=contrastive_gradient,
            beta=beta,
        )

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training, the codebook learns as cvq's."""
        Q.flatten(z, self.dim)  # raises for other shapes
        out = self.chunks(z.reshape(-1, self.chunks.dim, *z.shape[2:]))  # (B·groups, dim/groups, H, W)
        codes = out.codes.view(z.shape[0], self.depth, *z.shape[2:]).permute(0, 2, 3, 1).contiguous()
        return QuantizerOutput(out.z_q.reshape(z.shape), codes, out.loss, out.logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, groups)."""
        Q.require_codes(codes, self.depth)
        batch, height, width, _ = codes.shape
        chunks = self.chunks.decode(codes.permute(0, 3, 1, 2).reshape(-1, height, width, 1))
        return chunks.reshape(batch, self.dim, height, width)
