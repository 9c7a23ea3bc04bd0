"""An autoencoder of patches: every position sees its own pixels alone."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from vqbench.backbone import Backbone
from vqbench.bounds import Width


class Patches(Backbone):
    """Two linear layers with a GELU between them, on patches of 4x4 pixels.

    32 pixels become 8x8 positions.
    """

    paper: ClassVar[str] = "an example of vqbench"
    VERSION: ClassVar[int] = 1
    factor = 4

    def __init__(self, channels: int, dim: int, *, hidden: Width = 64) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(channels, hidden, 4, stride=4), nn.GELU(), nn.Conv2d(hidden, dim, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(dim, hidden, 1), nn.GELU(), nn.ConvTranspose2d(hidden, channels, 4, stride=4)
        )

    def encode(self, x: Tensor) -> Tensor:
        """Map images (B, channels, S, S) in [-1, 1] to features (B, dim, S/4, S/4)."""
        z: Tensor = self.encoder(x)
        return z

    def decode(self, z_q: Tensor) -> Tensor:
        """Map features (B, dim, S/4, S/4) to images (B, channels, S, S)."""
        x: Tensor = self.decoder(z_q)
        return x
