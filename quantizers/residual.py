"""Residual quantization: every level quantizes what the levels before it left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Codes, Decay, Layers, NonNegativeFloat, NonNegativeInt, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.quantizers.vq_ema_restart import VQEMARestart


class Residual(Quantizer):
    """Quantize the residuals of the levels before, level by level.

    r_0 = z, k_d = argmin_k ‖r_{d−1} − e_k‖², r_d = r_{d−1} − e_{k_d}; the decoder gets ẑ = Σ_d e_{k_d}.

    loss = β·mean over the levels of mean((z − sg ẑ_d)²), ẑ_d the sum of the first d codes; straight-through from ẑ to
    z. Codebooks learn as in vq_ema_restart: running means, k-means at the start, starved codes restart at residuals.

    ``shared``: one codebook for all levels, as in RQ-VAE. It starts from the features themselves, and is updated once
    per step, after all levels and by all of them, so that every level uses the same codes as in evaluation.
    ``level_codes``: codes per level; with None the whole number whose ``depth``-th power is nearest to ``num_codes``,
    so that all levels together cost what the suite's budget allows (512 codes: three levels of 8).

    Before the first training step codes are drawn from U(±√(3/D)).

    Differs from RQ-VAE: there codes start at N(0, 1) instead of by k-means, the shared codebook is updated after
    each level, repeated features get noise, and each of 4 levels has 2,048 codes or more. Differs from audio codecs: no
    level is dropped at random.
    """

    paper: ClassVar[str] = (
        "D. Lee, C. Kim, S. Kim, M. Cho, W.-S. Han, Autoregressive Image Generation using Residual Quantization, "
        "CVPR 2022, arXiv 2203.01941; N. Zeghidour et al., SoundStream, 2021, arXiv 2107.03312"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"rq": {"depth": 4, "shared": True}}

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        depth: Layers = 3,
        level_codes: Codes | None = None,
        shared: bool = False,
        beta: NonNegativeFloat = 0.25,
        decay: Decay = 0.99,
        epsilon: PositiveFloat = 1e-5,
        kmeans_iterations: NonNegativeInt = 10,
        threshold: NonNegativeFloat = 1.0,
    ) -> None:
        Q.require(depth >= 1, f"depth must be at least 1, not {depth}")
        codes = Q.nearest_root(num_codes, depth) if level_codes is None else level_codes
        super().__init__(codes, dim, depth)
        options = {"beta": beta, "decay": decay, "epsilon": epsilon, "threshold": threshold}
        self.beta, self.shared = beta, shared
        self.levels = nn.ModuleList(
            VQEMARestart(codes, dim, kmeans_iterations=kmeans_iterations, **options)
            for _ in range(1 if shared else depth)
        )

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        In training, start each codebook before its level and update all of them at the end.
        """
        features = Q.flatten(z, self.dim)
        total, loss = torch.zeros_like(features), features.new_zeros(())
        steps = []  # of each level: what it quantized (N, dim), its codes (N,), its fresh features (K, dim)
        for level in self._by_depth():
            residual = features.detach() - total
            fresh = level.start(residual) if self.training else residual
            codes = Q.assign(residual, level.codebook)
            total = total + F.embedding(codes, level.codebook)
            loss = loss + self.beta * F.mse_loss(features, total) / self.depth
            steps.append((residual, codes, fresh))
        if self.training:
            self.learn(steps)
        codes = torch.stack([codes for _, codes, _ in steps], 1).view(z.shape[0], *z.shape[2:], self.depth)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))  # over all levels
        return QuantizerOutput(Q.straight_through(z, Q.unflatten(total, z)), codes, loss, logs)

    def learn(self, steps: list[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Update every codebook once.

        The shared one is updated by all levels, which offer fresh features in turn.
        """
        if self.shared:
            residuals, codes, fresh = zip(*steps, strict=True)
            turn = torch.arange(self.num_codes, device=fresh[0].device)
            mixed = torch.stack(fresh)[turn % self.depth, turn]
            steps = [(torch.cat(residuals), torch.cat(codes), mixed)]
        for level, step in zip(self.levels, steps, strict=True):
            level.learn(*step)  # type: ignore[operator]  # a VQEMARestart

    def _by_depth(self) -> list[VQEMARestart]:
        levels: list[Any] = list(self.levels)
        return levels * self.depth if self.shared else levels

    def decode(self, codes: Tensor) -> Tensor:
        """Return the sums (B, dim, H, W) of the code vectors of ``codes``.

        ``codes`` are (B, H, W, depth).
        """
        Q.require_codes(codes, self.depth)
        total: Tensor = torch.zeros((), device=codes.device)
        for level, chosen in zip(self._by_depth(), codes.unbind(-1), strict=True):
            total = total + F.embedding(chosen, level.codebook)  # (B, H, W, dim)
        return total.permute(0, 3, 1, 2).contiguous()
