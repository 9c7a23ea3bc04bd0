"""SQ-VAE: stochastic quantization with a learned, self-annealing variance."""

from __future__ import annotations

from math import exp, log
from typing import ClassVar

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from vqbench.quantizer import Quantizer, QuantizerOutput


class SQVAE(Quantizer):
    """SQ-VAE with Gaussian type I: one learned variance for all features.

    A learned scalar s, quantization variance σ² = 1 + exp(s), precision π = 1/σ².

    Logits −(π/2)‖z_i − e_k‖², posterior q = softmax. In training z_q,i = Σ_k y_ik e_k, y = softmax((logits + g)/τ) with
    Gumbel noise g; in evaluation the most probable code. loss = Σ q ln q + Σ (π/2)(z − z_q)², summed over an image and
    averaged over images; nothing stops a gradient. The objective has its own reconstruction term, (P/2)·ln M, with P
    elements per image and M the squared error of an image averaged over the global batch: its scale is that of a sum
    over pixels, thousands of times a mean. The 1 in σ² is the released code's, whose own formula gives it for type I.

    ``scale`` is exp(s) at the start: 10, or 20 for CIFAR10 and CelebA. The temperature is exp(−decay·t), where t runs
    over ``anneal_steps`` updates however long the training is, so that it ends where the authors' own runs of 156,300
    updates end (0.21); with None, t counts the updates, as in the released code.

    Codes start at N(0, 1), as in the released code.

    Differs from the released code: this project's backbone, optimiser and linear output.
    """

    paper: ClassVar[str] = (
        "Y. Takida et al., SQ-VAE: Variational Bayes on Discrete Representation with Self-annealed Stochastic "
        "Quantization, ICML 2022, arXiv 2205.07547"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        scale: PositiveFloat = 10.0,
        decay: NonNegativeFloat = 1e-5,
        anneal_steps: PositiveInt | None = 156_300,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(scale > 0, f"scale must be positive, not {scale}")
        self.decay, self.anneal_steps = decay, anneal_steps
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "normal"))
        self.log_scale = nn.Parameter(torch.tensor(log(scale)))
        self.temperature = nn.Buffer(torch.ones(()))
        self.updates = nn.Buffer(torch.zeros((), dtype=torch.int64))

    @property
    def precision(self) -> Tensor:
        """Return π = 1/σ², a scalar with a gradient."""
        return 1 / (1 + self.log_scale.exp())

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        A relaxed sample in training, the most probable code in evaluation.
        """

        def weigh_codes(rows: Tensor, noise: Tensor | None, codebook: Tensor, precision: Tensor) -> tuple[Tensor, ...]:
            logits = precision / -2 * Q.squared_distances(rows, codebook)  # (n, K)
            codes = logits.argmax(1)
            entropy, _ = Q.total_entropy(logits)
            if noise is None:
                return codebook[codes], codes, entropy
            sample, _ = Q.relaxed_sample(logits, noise, self.temperature, codebook)
            return sample, codes, entropy

        features, shared = Q.flatten(z, self.dim), [self.codebook, self.precision]
        rows, codes, entropy = Q.map_chunks(weigh_codes, features, self.num_codes, shared, noisy=self.training)
        z_q = Q.unflatten(rows, z)
        gap = self.precision / 2 * (z - z_q).square().sum() / z.shape[0]
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes)) | {"variance": 1 / self.precision.detach()}
        return QuantizerOutput(z_q, Q.code_map(codes, z), gap - entropy / z.shape[0], logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)

    def objective(self, error: Tensor, out: QuantizerOutput, pixels: int, weight: float = 1.0) -> Tensor:
        """Return (P/2)·ln(P·error) + loss, where P is ``pixels``.

        ``weight`` is a likelihood's fixed variance, which this one does not have, and is ignored.
        """
        return pixels / 2 * torch.log(pixels * Q.all_mean(error)) + out.loss

    def anneal(self, progress: float) -> None:
        """Set the temperature of the next update."""
        if self.anneal_steps is None:
            self.updates.add_(1)
            self.temperature.copy_(torch.exp(-self.decay * self.updates))
        else:
            self.temperature.fill_(exp(-self.decay * self.anneal_steps * progress))
