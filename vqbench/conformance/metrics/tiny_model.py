"""A model without weights, for metrics that need the model of a run."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.backbone import Autoencoder, Backbone
from vqbench.quantizer import Quantizer, QuantizerOutput

LATENT = (2, 4, 4)  # dim, h, w


class PatchMoments(Backbone):
    """Encode an image to means and mean squares of 4 x 4 patches."""

    paper = "none"

    def __init__(self, channels: int, side: int) -> None:
        super().__init__()
        self.channels, self.side = channels, side

    def encode(self, x: Tensor) -> Tensor:
        grey = (x.mean(1, keepdim=True) + 1) / 2  # (B, 1, S, S) in [0, 1]
        return F.adaptive_avg_pool2d(torch.cat([grey, grey.square()], 1), LATENT[1:])

    def decode(self, z_q: Tensor) -> Tensor:
        images = F.interpolate(2 * z_q[:, :1] - 1, size=(self.side, self.side))
        return images.expand(-1, self.channels, -1, -1)


class LevelQuantizer(Quantizer):
    """Round each channel to ``num_codes`` levels in [0, 1]; with depth 0, none."""

    paper = "none"

    def forward(self, z: Tensor) -> QuantizerOutput:
        codes = ((self.num_codes - 1) * z.clamp(0, 1)).round().long().movedim(1, -1)  # (B, h, w, 2)
        return QuantizerOutput(self.decode(codes) if self.depth else z, codes[..., : self.depth], z.new_zeros(()))

    def decode(self, codes: Tensor) -> Tensor:
        return codes.movedim(-1, 1).float() / (self.num_codes - 1)


def tiny_model(num_codes: int, channels: int, side: int, quantized: bool = True) -> Autoencoder:
    """Return the model for images (B, channels, side, side), in evaluation mode."""
    return Autoencoder(PatchMoments(channels, side), LevelQuantizer(num_codes, 2, depth=2 if quantized else 0)).eval()
