"""The autoencoder around a quantizer: encoder -> quantizer -> decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqbench.backbone import Backbone
from vqbench.functional.precision import strictly
from vqbench.quantizer import Quantizer, QuantizerOutput


class Autoencoder(nn.Module):
    """A backbone and a quantizer, trained together."""

    def __init__(self, backbone: Backbone, quantizer: Quantizer) -> None:
        super().__init__()
        self.backbone, self.quantizer = backbone, quantizer

    def forward(self, x: Tensor) -> tuple[Tensor, QuantizerOutput]:
        """Reconstruct images (B, C, S, S) in [-1, 1].

        Returns the reconstructions, of the same shape and not clamped, and the quantizer's output.
        """
        z = self.backbone.encode(x)  # (B, dim, s, s)
        with torch.autocast(z.device.type, enabled=False):  # assignments are decided in float32 at every precision
            out = strictly(self.quantizer, z.float())
        return self.backbone.decode(out.z_q), out
