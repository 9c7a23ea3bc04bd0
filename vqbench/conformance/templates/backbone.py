"""What this encoder and decoder are, in one line."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from vqbench.backbone import Backbone
from vqbench.bounds import Width


class BackboneTemplate(Backbone):
    """Two strided convolutions each way; put your networks here.

    32 pixels become 8x8 positions. Say where you deviate from the paper, and why.
    """

    paper: ClassVar[str] = "authors, title, venue and year, arXiv number"
    VERSION: ClassVar[int] = 1  # raise it when a change of the code changes what is trained
    factor = 4  # pixels per position along a side

    # channels of the images and dim of the codebook come from the suite. Own arguments are keywords with a bounded type
    # and a default: together they name a run. Weights are drawn from torch's default generator, which the seed of the
    # run sets: quantizers that are compared start from the same backbone.
    def __init__(self, channels: int, dim: int, *, hidden: Width = 32) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, dim, 4, stride=2, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(dim, hidden, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hidden, channels, 4, stride=2, padding=1),
        )

    def encode(self, x: Tensor) -> Tensor:
        """Map images (B, channels, S, S) in [-1, 1] to features (B, dim, S/4, S/4)."""
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z_q: Tensor) -> Tensor:
        """Map features (B, dim, S/4, S/4) to images (B, channels, S, S), not clamped."""
        x: Tensor = self.decoder(z_q)
        return x
