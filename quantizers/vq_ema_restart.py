"""VQ-VAE with moving averages, k-means at the start, and restarts."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import Decay, NonNegativeFloat, NonNegativeInt, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class VQEMARestart(Quantizer):
    """Choose the nearest code, a running mean that restarts when it starves.

    At the first training step k-means on that batch, ``kmeans_iterations`` of Lloyd's algorithm from features drawn
    without repeats, gives the codebook and the first averages. In every step N_k ← γN_k + (1 − γ)n_k and likewise the
    sums M_k. A code with N_k < ``threshold`` (features a step, over all ranks) becomes a feature of the batch, with
    that feature's M_k and N_k = threshold, so that no stale average takes it back. Then e_k = M_k / Ñ_k,
    Ñ_k = (N_k + ε)/(n + Kε)·n, n = Σ N_k. The loss is β·mean((sg e − z)²).

    ``threshold`` is a count, as published, so its effect depends on the batch and the number of codes: K equally used
    codes have N/K each of a batch of N features. 0 never restarts. A batch with fewer features than codes repeats them.

    Before the first training step codes are drawn from U(±√(3/D)).

    Differs from Jukebox: k-means instead of random features at the start (``kmeans_iterations=0`` for those), the
    averages of a restarted code are reset (as in RQ-VAE), β = 0.25, and repeated features get no noise
    (there N(0, (0.01/√D)²)).
    """

    paper: ClassVar[str] = (
        "P. Dhariwal, H. Jun, C. Payne, J. W. Kim, A. Radford, I. Sutskever, Jukebox: A Generative Model for Music, "
        "2020, arXiv 2005.00341 (random restarts); N. Zeghidour et al., SoundStream, 2021, arXiv 2107.03312 (k-means)"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: NonNegativeFloat = 0.25,
        decay: Decay = 0.99,
        epsilon: PositiveFloat = 1e-5,
        kmeans_iterations: NonNegativeInt = 10,
        threshold: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(0 < decay < 1, f"decay must lie between 0 and 1, not {decay}")
        Q.require(min(kmeans_iterations, threshold) >= 0, "kmeans_iterations and threshold must not be negative")
        self.beta, self.decay, self.epsilon = beta, decay, epsilon
        self.kmeans_iterations, self.threshold = kmeans_iterations, threshold
        self.codebook = nn.Buffer(Q.initial_codebook(num_codes, dim, "sonnet"))
        self.average_counts = nn.Buffer(torch.ones(num_codes))
        self.average_sums = nn.Buffer(self.codebook.clone())
        self.started = nn.Buffer(torch.zeros((), dtype=torch.bool))
        self._start_done = False  # ``started`` on the host: skips the k-means without a sync

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        In training, start the codebook before it and update it after it.
        """
        features = Q.flatten(z, self.dim)
        fresh = self.start(features.detach()) if self.training else None
        codes = Q.code_map(Q.assign(features, self.codebook), z)
        z_q = Q.look_up(codes, self.codebook)
        if fresh is not None:
            self.learn(features.detach(), codes, fresh)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(Q.straight_through(z, z_q), codes, self.beta * F.mse_loss(z, z_q), logs)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._start_done = False  # ``started`` was loaded; the next step runs k-means once more in any case

    @torch.no_grad()
    def start(self, features: Tensor) -> Tensor:
        """Return one feature per code, (K, dim), as a fresh value for it.

        At the first step, k-means from these features becomes the codebook.

        Features are drawn in every step, used or not, so that a resumed run draws as one that was never stopped.
        """
        fresh = Q.anchors("unique", features, self.codebook, "l2")
        if not self._start_done:
            centres, counts = Q.lloyd(features, fresh, self.kmeans_iterations)
            counts = counts.clamp(min=1).to(centres.dtype)
            self.codebook.copy_(torch.where(self.started, self.codebook, centres))
            self.average_counts.copy_(torch.where(self.started, self.average_counts, counts))
            self.average_sums.copy_(torch.where(self.started, self.average_sums, centres * counts[:, None]))
            self.started.fill_(True)
            self._start_done = True
        return fresh

    @torch.no_grad()
    def learn(self, features: Tensor, codes: Tensor, fresh: Tensor) -> None:
        """Update the averages by ``features`` (N, dim) and ``codes``.

        Starved codes take their row of ``fresh`` (K, dim).
        """
        counts = Q.code_counts(codes, self.num_codes).to(features.dtype)
        self.average_counts.lerp_(counts, 1 - self.decay)
        self.average_sums.lerp_(Q.code_sums(features, codes, self.num_codes), 1 - self.decay)
        starved = self.average_counts < self.threshold  # (K,)
        self.average_counts.masked_fill_(starved, self.threshold)
        self.average_sums.copy_(torch.where(starved[:, None], self.threshold * fresh, self.average_sums))
        n = self.average_counts.sum()
        smoothed = (self.average_counts + self.epsilon) / (n + self.num_codes * self.epsilon) * n
        self.codebook.copy_(self.average_sums / smoothed[:, None])

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
