"""Wasserstein VQ: the codes' mean and covariance follow those of the features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from vqbench.quantizer import Quantizer, QuantizerOutput

FLOOR = 1e-8  # added to eigenvalues before their root, as released


class WassersteinVQ(Quantizer):
    """Choose the nearest code; match the codes' Gaussian to that of the features.

    loss = α·mean((e − sg z)²) + β·mean((sg e − z)²) + γ·W, with a straight-through gradient. W is the 2-Wasserstein
    distance between the Gaussians with mean and covariance of the K codes, and of a queue of the last ``queue``
    training features, both divided by the largest standard deviation of a channel of the queue:
    W² = ‖m − μ‖² + tr(S + Σ − 2·(Σ^½·S·Σ^½)^½), with m and S of the codes, μ and Σ of the queue. Its gradient reaches
    the codes alone. 1e-8 is added to each eigenvalue before its root, and 1e-10 to W² before the last.

    Codes learn at a rate of their own, ``codebook_rate``, constant whatever the recipe's does; with None, at the
    recipe's rate.

    The codes and the queue start at N(0, 0.01²), so the first features are compared with noise. Tables count the queue
    as learned state, though only training needs it.

    The released code has W, its README W². Here are the weights and the rate of its scripts for VQ-VAE; its parser's
    γ is 0. For VQGAN they are 1, 0.2 and 1, a rate of 0.01, and a queue of 32,768.

    Differs from the released code: any batch enters the queue (there its size must divide the queue's); on several
    ranks the queue has the features of the whole batch, there those of its own rank. NaN fails instead of becoming
    0. Adam's betas are the recipe's (there 0.9 and 0.95), and gradients are not clipped (there to norm 1).
    """

    paper: ClassVar[str] = (
        "X. Fang, L. Guo, H. Chen, Y. Zhang, X. Xia, D. Song, Y. Liu, H. Wang, H. Yang, Y. Yuan, Q. Sun, Enhancing "
        "Vector Quantization with Distributional Matching: A Theoretical and Empirical Study, 2025, arXiv 2506.15078"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        alpha: NonNegativeFloat = 1.0,
        beta: NonNegativeFloat = 0.1,
        gamma: NonNegativeFloat = 0.5,
        queue: PositiveInt = 65536,
        codebook_rate: PositiveFloat | None = 0.02,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(queue >= 2, f"a queue needs at least 2 features, not {queue}")
        self.alpha, self.beta, self.gamma, self.codebook_rate = alpha, beta, gamma, codebook_rate
        self.codebook = nn.Parameter(0.01 * Q.initial_codebook(num_codes, dim, "normal"))
        self.queue = nn.Buffer(0.01 * torch.randn(queue, dim))
        self.oldest = nn.Buffer(torch.zeros((), dtype=torch.int64))  # where in the queue the next feature goes

    def learning_rates(self) -> Mapping[str, float]:
        """Return the codes' own learning rate, unless they have the recipe's."""
        return {} if self.codebook_rate is None else {"codebook": self.codebook_rate}

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training, its features enter the queue."""
        features = Q.flatten(z, self.dim)
        if self.training:
            self.enqueue(features)
        codes = Q.code_map(Q.assign(features, self.codebook), z)
        z_q = Q.look_up(codes, self.codebook)
        distance = self.distance()
        loss = self.alpha * F.mse_loss(z_q, z.detach()) + self.beta * F.mse_loss(z, z_q.detach())
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes)) | {"wasserstein": distance.detach()}
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss + self.gamma * distance, logs)

    @torch.no_grad()
    def enqueue(self, features: Tensor) -> None:
        """Replace the oldest of the queue by the whole batch's ``features`` (n, dim)."""
        batch = Q.gather_rows(features)[-len(self.queue) :]
        places = (self.oldest + torch.arange(len(batch), device=batch.device)) % len(self.queue)
        self.queue.index_copy_(0, places, batch)
        self.oldest.copy_((self.oldest + len(batch)) % len(self.queue))

    def distance(self) -> Tensor:
        """Return W, (), with a gradient for the codes."""
        with torch.no_grad():
            scale = self.queue.std(0).amax() + 1e-8
            mean, covariance = moments(self.queue / scale)
            values, vectors = torch.linalg.eigh(covariance)
            root = (vectors * (values.relu() + FLOOR).sqrt()) @ vectors.T  # Σ^½
        own_mean, own_covariance = moments(self.codebook / scale)
        shared = torch.linalg.eigvalsh(root @ own_covariance @ root)
        spread = covariance.trace() + own_covariance.trace() - 2 * (shared.relu() + FLOOR).sqrt().sum()
        squared: Tensor = (mean - own_mean).square().sum() + spread.relu()
        return (squared + 1e-10).sqrt()

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)


def moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (D,) and unbiased covariance (D, D) of ``rows`` (N, D)."""
    mean = rows.mean(0)
    centred = rows - mean
    return mean, centred.T @ centred / max(1, len(rows) - 1)
