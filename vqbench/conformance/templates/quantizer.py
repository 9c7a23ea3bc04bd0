"""What this method does differently, in one line."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class QuantizerTemplate(Quantizer):
    """The nearest code with a straight-through gradient; put your method here.

    loss = mean((e − sg z)²) + β·mean((sg e − z)²). Say where you deviate from the paper, and why.
    """

    paper: ClassVar[str] = "authors, title, venue and year, arXiv number"
    VERSION: ClassVar[int] = 1  # raise it when a change of the code changes what a trained run weighs

    # The suite's budget comes first, the same for all methods: num_codes values of a code at most, dim channels of z.
    # Own arguments are keywords with a bounded type and a default: together they name a run.
    def __init__(self, num_codes: int, dim: int, *, beta: NonNegativeFloat = 0.25) -> None:
        super().__init__(num_codes, dim)  # depth=... where a position has several codes (residual, product)
        self.beta = beta
        # What learns by gradient is an nn.Parameter, what forward moves while self.training an nn.Buffer. Nothing else
        # may change in training: state_dict is the whole state. A rank sees its part of the batch alone, so add up
        # statistics by Q.code_counts, Q.code_sums, Q.all_sum, and draw random numbers by Q.gumbel, Q.anchors, ...
        self.codebook = nn.Parameter(Q.initial_codebook(num_codes, dim, "uniform"))

    @Q.full_precision  # distances of nearby codes cancel in half precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W)."""
        codes = Q.code_map(Q.assign(Q.flatten(z, self.dim), self.codebook), z)  # (B, H, W, 1) int64
        z_q = self.decode(codes)
        loss = F.mse_loss(z_q, z.detach()) + self.beta * F.mse_loss(z, z_q.detach())  # without the reconstruction error
        return QuantizerOutput(Q.straight_through(z, z_q), codes, loss)  # z_q must carry the encoder's gradient

    def decode(self, codes: Tensor) -> Tensor:
        """Return the ``z_q`` (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)

    # Inherited, to override where your method differs:
    #   anneal(progress)  is called before every update with the finished share of the training, for schedules
    #   objective(error, out, pixels, weight)  is what is minimised: weight·error + out.loss
    #   bits  per position: depth·log2(num_codes)
