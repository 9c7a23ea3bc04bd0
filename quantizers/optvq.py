"""OptVQ: codes by optimal transport between a batch's features and the codes."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, NonNegativeInt, Width
from vqbench.quantizer import Quantizer, QuantizerOutput

SMALL = 1e-8  # added to every sum that divides, as released


class OptVQ(Quantizer):
    """Choose codes that a batch uses about equally, by Sinkhorn's algorithm.

    The codes are E = CWᵀ + b, with C (K, D), W (D, D) and b (D) learned. Of the distances d_ik = ‖z_i − e_k‖ of all N
    features of a batch, the cost is c = (d − mean d)/std d, less its minimum. From u = 1/Σ exp(−ε·c) and v = 1,
    ``iterations`` times u_k ← 1/(K·Σ_i v_i·exp(−ε·c_ik)) and v_i ← 1/(N·Σ_k u_k·exp(−ε·c_ik)), with 1e-8 added to each
    mass before it divides. Then k(i) = argmax_k u_k·exp(−ε·c_ik): a code that the batch uses too much becomes dearer
    for all its features. ``epsilon`` is an inverse temperature; 0 iterations choose the nearest code.

    loss = mean((sg e − z)²) + β·mean((e − sg z)²): β is on the codebook term. The gradient is straight-through.

    Evaluation chooses likewise, as released: the codes of an image depend on the images beside it, so that they are
    marked in tables. vqbench evaluates images in batches of 100, in the order of the data set.

    ``heads``: a position's channels are cut into so many neighbouring parts, each with a code of its own from one
    codebook; a position then costs ``heads``·log2 K bits.

    C starts at N(0, 1), W at N(0, 1/D), b at U(±1/√D), with D the channels of a code.

    The defaults are those of the released configurations, with one head of theirs (4 or 8). The class has others:
    β = 1, codes drawn from the transport plan, and cross-entropy as the loss.

    Differs from the released code: on several ranks mean, deviation and minimum of the distances are those of the whole
    batch, not of a rank's part. Without its k-means start, which reads features that another run wrote to a file, and
    without AdamW's weight decay.
    """

    paper: ClassVar[str] = (
        "B. Zhang, W. Zheng, J. Zhou, J. Lu, Preventing Local Pitfalls in Vector Quantization via Optimal Transport, "
        "2024, arXiv 2412.15195"
    )
    batch_dependent: ClassVar[bool] = True

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: NonNegativeFloat = 0.25,
        epsilon: NonNegativeFloat = 10.0,
        iterations: NonNegativeInt = 5,
        heads: Width = 1,
    ) -> None:
        super().__init__(num_codes, dim, depth=heads)
        Q.require(dim % heads == 0, f"heads must divide dim, but {heads} does not divide {dim}")
        Q.require(epsilon >= 0, f"epsilon must not be negative, but is {epsilon}")
        Q.require(iterations >= 0, f"iterations must not be negative, but is {iterations}")
        self.beta, self.epsilon, self.iterations = beta, epsilon, iterations
        width = dim // heads
        self.points = nn.Parameter(Q.initial_codebook(num_codes, width, "normal"))
        self.projection = nn.Linear(width, width)
        nn.init.normal_(self.projection.weight, std=width**-0.5)

    @property
    def codebook(self) -> Tensor:
        """Return the effective codes (num_codes, dim / heads), with a gradient."""
        codebook: Tensor = self.projection(self.points)
        return codebook

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), in training as in evaluation."""
        codebook = self.codebook
        features = Q.flatten(z, self.dim).reshape(-1, self.dim // self.depth)  # (N · heads, dim / heads)
        codes = self.transport(features, codebook).view(z.shape[0], *z.shape[2:], self.depth)
        z_q = self._vectors(codes, codebook)
        loss = F.mse_loss(z, z_q.detach()) + self.beta * F.mse_loss(z_q, z.detach())
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))  # over all heads
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss, logs)

    @torch.no_grad()
    def transport(self, features: Tensor, codebook: Tensor) -> Tensor:
        """Return the code (n,) of each of this rank's ``features`` (n, D)."""
        affinity = -self.epsilon * self.cost(Q.squared_distances(features, codebook).sqrt())  # (n, K)
        plan = affinity.exp()  # before it is scaled by u and v
        _, total = Q.shard(features.shape[0])  # not len(), which torch.export takes for a constant
        largest = torch.finfo(plan.dtype).max  # where a sum underflows to 0 each time, its factor grows without end
        u = (1 / (Q.all_sum(plan.sum()) + SMALL)).expand(self.num_codes)  # (K,)
        v = torch.ones_like(plan[:, 0])  # (n,)
        for _ in range(self.iterations):
            u = (u / ((u * Q.all_sum(v @ plan) + SMALL) * self.num_codes)).clamp(max=largest)
            v = (v / ((v * (plan @ u) + SMALL) * total)).clamp(max=largest)
        return (affinity + u.log()).argmax(1)

    def cost(self, distances: Tensor) -> Tensor:
        """Return ``distances`` (n, K) in deviations of the whole batch's, from 0."""
        count = Q.shard(distances.shape[0])[1] * self.num_codes
        centred = distances - Q.all_sum(distances.sum()) / count
        deviation = (Q.all_sum(centred.square().sum()) / (count - 1)).sqrt()
        scaled = centred / (deviation + 1e-6)
        return scaled - Q.all_gather(scaled.amin()[None]).amin()

    def _vectors(self, codes: Tensor, codebook: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, heads)."""
        return F.embedding(codes, codebook).flatten(3).permute(0, 3, 1, 2)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, heads)."""
        Q.require_codes(codes, self.depth)
        return self._vectors(codes, self.codebook)
