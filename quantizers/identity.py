"""No quantization: the same backbone as a plain autoencoder, the upper bound of every table."""

from __future__ import annotations

from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from vqbench.functional import require
from vqbench.quantizer import Quantizer, QuantizerOutput


class Identity(Quantizer):
    """Hands the features to the decoder as they are: z_q = z.

    There are no codes: ``depth`` is 0, ``codes`` is (B, H, W, 0), ``bits`` is infinite and ``decode`` refuses.
    ``num_codes`` and ``dim`` are accepted, as by every quantizer, so that it can stand in any row.
    """

    paper: ClassVar[str] = (
        "G. E. Hinton, R. R. Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, "
        "Science 313, 2006 (an autoencoder without a quantizer; no arXiv version)"
    )
    ceiling: ClassVar[bool] = True

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__(num_codes, dim, depth=0)

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Pass ``z`` (B, dim, H, W) on; the loss is zero."""
        codes = torch.empty(z.shape[0], *z.shape[2:], 0, dtype=torch.int64, device=z.device)
        return QuantizerOutput(z, codes, z.new_zeros(()))

    def decode(self, codes: Tensor) -> Tensor:
        """Raises UsageError: without codes there is nothing to decode."""
        require(False, "the quantizer 'identity' has no codes to decode; choose one that quantizes for a second stage")
        return codes

    @property
    def bits(self) -> float:
        """Infinite: a position is not quantized."""
        return inf
