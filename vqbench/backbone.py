"""The contract of a backbone: an encoder and a decoder around a quantizer."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class Backbone(nn.Module):
    """An encoder to a feature map of ``dim`` channels and a decoder back to pictures in [-1, 1] (not clamped).

    ``__init__(self, channels, dim, **own)``: the pictures' channels and the codebook's dimension come first.
    """

    paper: ClassVar[str]
    VERSION: ClassVar[int] = 1
    FILLED: ClassVar[tuple[str, ...]] = ("channels", "dim")  # from the data set and the codebook, not from the suite

    def encode(self, x: Tensor) -> Tensor:
        """Pictures (B, channels, S, S) in [-1, 1] to features (B, dim, s, s)."""
        raise NotImplementedError

    def decode(self, z_q: Tensor) -> Tensor:
        """Features (B, dim, s, s) to pictures (B, channels, S, S)."""
        raise NotImplementedError
