"""No quantization: a plain autoencoder, the upper bound of every table."""

from __future__ import annotations

from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from vqbench.functional import require
from vqbench.quantizer import Quantizer, QuantizerOutput


class Identity(Quantizer):
    """Pass the features to the decoder as they are: z_q = z.

    Nothing is coded: ``depth`` is 0, ``codes`` is (B, H, W, 0), ``bits`` is infinite and ``decode`` raises.
    ``num_codes`` and ``dim`` are accepted, as by every quantizer, so that it fits any row of a suite.
    """

    paper: ClassVar[str] = (
        "G. E. Hinton, R. R. Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, "
        "Science 313, 2006 (an autoencoder without a quantizer; no arXiv version)"
    )
    upper_bound: ClassVar[bool] = True

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim, depth=0)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Pass ``z`` (B, dim, H, W) on; the loss is zero."""
        codes = torch.empty(z.shape[0], *z.shape[2:], 0, dtype=torch.int64, device=z.device)
        return QuantizerOutput(z, codes, z.new_zeros(()))

    def decode(self, codes: Tensor) -> Tensor:
        """Raise UsageError: without codes nothing can be decoded."""
        require(False, "the quantizer 'identity' has no codes to decode; choose one that quantizes for a second stage")
        return codes

    @property
    def bits(self) -> float:
        """Infinity: a position is not quantized."""
        return inf
