"""Bits per dimension of the image under a trained prior."""

from __future__ import annotations

from vqbench.metric import Samples
from vqbench.metrics.prior_bits import PriorBits


class BitsDim(PriorBits):
    """Bits under the trained prior per dimension of the image.

    ``prior_bits`` / (C · H · W): comparable between data sets of other image sizes. It is the rate of the codes, from
    which only a reconstruction is decoded; the bits per dimension of a lossless model of pixels are another quantity.
    """

    label = "Bits/dim"
    digits = 4
    reference = "prior_bits divided by channels x height x width of an image"

    def measure(self, samples: Samples) -> float | None:
        bits = super().measure(samples)
        return None if bits is None else bits / samples.images[0].numel()
