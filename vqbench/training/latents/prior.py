"""An autoregressive prior: predicts each code from those before it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.backbone import Autoencoder
from vqbench.functional.anchor_sampling import cumulative
from vqbench.functional.precision import float32_products, strictly
from vqbench.training.engine import upload
from vqbench.training.latents.generator import Generator
from vqbench.training.latents.transformer import CausalTransformer, Seen

SCORES = 2**24  # of codes in memory at once: 128 MiB in float64


class Prior(Generator):
    """Predicts the next code of a map (h, w, depth) in raster order.

    All codes of a position follow each other.

    The input of ``net`` is the code before, as one of depth·K tokens; before the first code, it is the token depth·K.
    """

    net: CausalTransformer

    def __init__(self, net: CausalTransformer, first: Autoencoder, shape: Sequence[int]) -> None:
        super().__init__(first)
        self.net, self.shape = net, tuple(shape)  # (h, w, depth)
        self.length = prod(self.shape)

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Encode images (B, C, S, S) in [-1, 1] to codes (B, h, w, depth) int32."""
        return strictly(self.first.quantizer, self.first.backbone.encode(x).float()).codes.int()

    def before(self, codes: Tensor) -> Tensor:
        """Return the token before each of ``codes`` (B, h·w·depth)."""
        start = torch.full_like(codes[:, :1], self._start)
        level = torch.arange(self.length - 1, device=codes.device) % self.shape[2]
        return torch.cat([start, codes[:, :-1] + level * self._codes], 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return scores (B, L, K) of the codes after ``tokens`` (B, L)."""
        scores: Tensor = self.net(tokens)
        return scores

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Decode codes (B, h·w·depth) to images (B, C, S, S) in [-1, 1]."""
        with float32_products():
            z_q = self.first.quantizer.decode(codes.unflatten(1, self.shape))
        return self.first.backbone.decode(z_q)

    @torch.no_grad()
    def code_bits(self, x: Tensor) -> Tensor:
        """Return −Σ log2 p(code | codes before it) of each image, (B,) float64.

        ``x`` (B, C, S, S) in [-1, 1]. Probabilities are those of temperature 1. A code that a quantizer repeats at
        several positions is paid for at each, as far as the prior has not learned to repeat it.
        """
        codes = self.encode(x).flatten(1).long()  # (B, L)
        together = max(1, SCORES // (self.length * self._codes))
        nats = [
            F.cross_entropy(self(self.before(some)).double().transpose(1, 2), some, reduction="none").sum(1)
            for some in codes.split(together)
        ]
        return torch.cat(nats) / math.log(2)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], *, temperature: float) -> Tensor:  # type: ignore[override]  # the settings of its own sampler
        """Sample each code by the softmax of its scores / ``temperature``."""
        uniform = torch.stack(
            [torch.rand(self.length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        )
        device = next(self.net.parameters()).device
        uniform = upload(uniform, device)
        tokens = torch.full((len(seeds),), self._start, device=device)
        codes, seen = [], Seen()
        for place in range(self.length):
            scores, seen = self.net.step(tokens, place, seen)
            codes.append(drawn(scores, temperature, uniform[:, place]))
            tokens = codes[-1] + place % self.shape[2] * self._codes
        return self.decoded(torch.stack(codes, 1))

    @property
    def _codes(self) -> int:
        return self.first.quantizer.num_codes

    @property
    def _start(self) -> int:
        return self.shape[2] * self._codes


def drawn(scores: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """Return the codes (B,) at which probabilities add up to ``uniform``.

    Probabilities are the softmax of ``scores`` (B, K) / ``temperature``.
    """
    probabilities = (scores.double() / temperature).softmax(-1)
    below = cumulative(probabilities)  # (B, K)
    return (below <= (uniform.double() * below[:, -1])[:, None]).sum(-1).clamp_max(scores.shape[-1] - 1)
