"""k-means on the first batch, after which the codebook stays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, NonNegativeInt
from vqbench.quantizer import Quantizer, QuantizerOutput

Start = Literal["plus_plus", "features"]


class KMeans(Quantizer):
    """Fit the codebook to the first training batch, by Lloyd's algorithm.

    For features that are held fixed (recipe ``atomic``), in one batch of all of them: the error to compare methods
    with. ``offline_kmeans`` is k-means within the training of an autoencoder. Lloyd's algorithm stops after
    ``iterations``, or where no code moves. The codebook does not change after the first step; the loss is
    β·mean((sg e − z)²), so that an encoder, if one is trained, follows it.

    ``start``: ``plus_plus``, each code a feature drawn in proportion to its squared distance from the nearest code so
    far, or ``features``, K features drawn without repeats. The preset ``random_codebook`` keeps the latter: a codebook
    drawn from the source, which a method that learns should not fall behind.

    Before the first training step codes are drawn from U(±√(3/D)).
    """

    paper: ClassVar[str] = (
        "S. P. Lloyd, Least Squares Quantization in PCM, IEEE Transactions on Information Theory 28, 1982; D. Arthur, "
        "S. Vassilvitskii, k-means++: The Advantages of Careful Seeding, SODA 2007 (no arXiv versions)"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"random_codebook": {"start": "features", "iterations": 0}}

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        start: Start = "plus_plus",
        iterations: NonNegativeInt = 100,
        beta: NonNegativeFloat = 0.25,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require_choice("start", start, Start)
        self.start: Start = start
        self.iterations, self.beta = iterations, beta
        self.codebook = nn.Buffer(Q.initial_codebook(num_codes, dim, "sonnet"))
        self.fitted = nn.Buffer(torch.zeros((), dtype=torch.bool))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); the first training step fits the codebook."""
        features = Q.flatten(z, self.dim)
        if self.training and not self.fitted:
            self.fit(features.detach())
        codes = Q.code_map(Q.assign(features, self.codebook), z)
        z_q = Q.look_up(codes, self.codebook)
        logs = Q.usage_logs(Q.code_counts(codes, self.num_codes))
        return QuantizerOutput(Q.straight_through(z, z_q), codes, self.beta * F.mse_loss(z, z_q), logs)

    @torch.no_grad()
    def fit(self, features: Tensor) -> None:
        """Fit the codebook to ``features`` (N, dim) of all ranks."""
        if self.start == "features":
            centres = Q.anchors("unique", features, self.codebook, "l2")
        else:
            centres = plus_plus(Q.gather_rows(features), self.num_codes)
        for _ in range(self.iterations):
            moved, _ = Q.lloyd(features, centres, 1)
            if torch.equal(moved, centres):
                break
            centres = moved
        self.codebook.copy_(centres)
        self.fitted.fill_(True)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)


def plus_plus(features: Tensor, num_codes: int) -> Tensor:
    """Draw centres (num_codes, D) from ``features`` (N, D) by k-means++.

    Each is drawn in proportion to its squared distance from the nearest centre so far, the first one uniformly.
    """
    draws = Q.shared_uniform(num_codes, device=features.device).double()
    weights = torch.ones(len(features), dtype=torch.float64, device=features.device)
    nearest = torch.full_like(weights, torch.inf)
    centres = []
    for draw in draws:
        cumulative = weights.cumsum(0)
        index = torch.searchsorted(cumulative, draw * cumulative[-1], right=True).clamp(max=len(features) - 1)
        centres.append(features[index])
        nearest = torch.minimum(nearest, (features - centres[-1]).square().sum(1).double())
        weights = nearest
    return torch.stack(centres)
