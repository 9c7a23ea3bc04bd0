"""Vector quantization with codes that are drawn at random, less and less so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class AnnealedVQ(Quantizer):
    """Draw codes from a softmax over distances, whose temperature falls to zero.

    In training k ~ softmax(−‖z − e‖²/τ), τ = ``temperature``·(1 − progress); in evaluation the nearest code.
    loss = mean((e − sg z)²) + β·mean((sg e − z)²), straight-through gradient. Codes start at N(0, 1).

    An example, not a published method: Sønderby et al. pass relaxed samples on, here they are codes.
    """

    paper: ClassVar[str] = (
        "an example of vqbench, after C. K. Sønderby, B. Poole, A. Mnih, Continuous Relaxation Training of Discrete "
        "Latent Variable Image Models, NIPS 2017 workshop on Bayesian deep learning"
    )
    VERSION: ClassVar[int] = 1
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"annealed_vq_hot": {"temperature": 1.0}}

    def __init__(
        self, num_codes: int, dim: int, *, beta: NonNegativeFloat = 0.25, temperature: NonNegativeFloat = 0.1
    ) -> None:
        super().__init__(num_codes, dim)
        self.beta, self.start = beta, temperature
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "normal"))
        self.temperature = nn.Buffer(torch.tensor(temperature))  # a buffer, so that a resumed run has it

    def anneal(self, progress: float) -> None:
        """Set the temperature of the next update."""
        self.temperature.fill_(self.start * (1 - progress))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W), with random codes in training."""
        features = Q.flatten(z, self.dim)  # (N, dim)
        codes = Q.code_map(self.draw(features.detach()) if self.training else Q.assign(features, self.codebook), z)
        z_q = self.decode(codes)
        return QuantizerOutput(Q.straight_through(z, z_q), codes, Q.vq_loss(z, z_q, self.beta))

    @torch.no_grad()
    def draw(self, features: Tensor) -> Tensor:
        """Return a random code of each of ``features`` (N, dim): (N,).

        The largest of logits plus Gumbel noise is a sample of the softmax; both are multiplied by τ, which may be 0.
        """
        noise = Q.gumbel(len(features), self.num_codes, features.device)  # of each feature, on however many ranks
        return (self.temperature * noise - Q.squared_distances(features, self.codebook)).argmax(1)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
