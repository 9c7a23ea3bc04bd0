"""Grouped (product) quantization: one code per chunk of the channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Codes, NonNegativeFloat, Width
from vqbench.quantizer import Quantizer, QuantizerOutput


class Grouped(Quantizer):
    """VQ of each of ``groups`` chunks of channels; the decoder gets all codes.

    A chunk is neighbouring channels; the chosen code vectors are concatenated.

    loss = mean((e − sg z)²) + β·mean((sg e − z)²), means over features and all ``dim`` channels; straight-through.

    ``shared``: one codebook for all chunks, which must then be equally wide, as in MoVQ. Otherwise every chunk has its
    own, some columns of one (K, dim) matrix; if ``groups`` does not divide ``dim``, the first chunks are one wider.
    ``group_codes``: codes per chunk; with None the whole number whose ``groups``-th power is nearest to ``num_codes``,
    so that all chunks together cost what the suite's budget allows (512 codes: two chunks of 23).

    ``init``: ``uniform`` U(±1/K), as MoVQ, K the codes of a chunk; ``sonnet`` U(±√(3/D)), D the codebook's columns.

    Differs from MoVQ: without its spatially modulated decoder; and its four chunks have 1,024 codes each. Only a
    reimplementation of its code is public, which is followed.
    """

    paper: ClassVar[str] = (
        "C. Zheng, T.-L. Vuong, J. Cai, D. Phung, MoVQ: Modulating Quantized Vectors for High-Fidelity Image "
        "Generation, NeurIPS 2022, arXiv 2209.09002; H. Jégou, M. Douze, C. Schmid, Product Quantization, PAMI 2011"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"movq": {"groups": 4, "shared": True}}

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        groups: Width = 2,
        group_codes: Codes | None = None,
        shared: bool = False,
        beta: NonNegativeFloat = 0.25,
        init: Literal["uniform", "sonnet"] = "uniform",
    ) -> None:
        Q.require(groups >= 1, f"groups must be at least 1, not {groups}")
        codes = Q.nearest_root(num_codes, groups) if group_codes is None else group_codes
        super().__init__(codes, dim, depth=groups)
        Q.require(dim >= groups, f"{groups} groups need at least as many channels, not {dim}")
        Q.require(not shared or dim % groups == 0, f"a shared codebook needs groups that divide {dim}, not {groups}")
        self.beta, self.shared = beta, shared
        self.codebook = nn.Parameter(Q.initial_codebook(codes, dim // groups if shared else dim, init))

    def codebooks(self) -> tuple[Tensor, ...]:
        """Return the codebook (num_codes, width) of each chunk."""
        return (self.codebook,) * self.depth if self.shared else self.codebook.tensor_split(self.depth, dim=1)

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        chunks = Q.flatten(z, self.dim).tensor_split(self.depth, dim=1)
        chosen = [Q.assign(chunk, book) for chunk, book in zip(chunks, self.codebooks(), strict=True)]
        codes = torch.stack(chosen, 1).view(z.shape[0], *z.shape[2:], self.depth)
        z_q = self.decode(codes)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))  # over all chunks
        return QuantizerOutput(Q.straight_through(z, z_q), codes, Q.vq_loss(z, z_q, self.beta), logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, groups)."""
        Q.require_codes(codes, self.depth)
        rows = [F.embedding(chosen, book) for chosen, book in zip(codes.unbind(-1), self.codebooks(), strict=True)]
        return torch.cat(rows, -1).permute(0, 3, 1, 2).contiguous()
