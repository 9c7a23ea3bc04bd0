"""Bits per image under a trained prior."""

from __future__ import annotations

from typing import ClassVar

from vqbench.metric import SampleMetric, Samples
from vqbench.protocol import MeasureProtocol


class PriorBits(SampleMetric):
    """Bits per image of the test split's codes under the trained prior.

    The mean over the test images of −Σ_i log2 p(code_i | codes before it), all codes of an image, with the trained
    weights in evaluation mode: the held-out loss of the prior. An arithmetic coder that knows the prior writes the
    codes in so many bits, but for some two bits per file. The prior was fitted to the training split alone.

    At least 0; undefined for a second stage without a likelihood, such as diffusion. Above ``entropy`` the prior has
    learned less than the codes' frequencies. Temperature and number of samples have no part in it. A rate, hence not
    ranked: codes that say nothing of the image cost nothing.
    """

    label = "Prior bits"
    better = "min"
    digits = 1
    rate = True
    of_likelihood = True
    knobs: ClassVar[tuple[str, ...]] = ()  # depends on codes alone
    reference = "van den Oord et al., Neural Discrete Representation Learning, NeurIPS 2017, whose prior is a PixelCNN"

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ()

    def measure(self, samples: Samples) -> float | None:
        bits = samples.test_bits
        return None if bits is None else float(bits.mean())
