"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

from torch import Tensor

from vqbench.images import distinct
from vqbench.metric import Batch, ImageMetric


class PSNR(ImageMetric):
    """Mean over images of 10 log10(1 / MSE) for pixels in [0, 1], in dB.

    The MSE is over all values of an image. At least 0; higher is better. It is the mean of the values per image, not
    the value of the data set's mean error, which is smaller. An image without any error has an infinite value, as in
    scikit-image, and so has the mean.
    """

    label = "PSNR"
    unit = "dB"
    better = "max"
    ideal = math.inf
    digits = 2
    reference = "scikit-image, peak_signal_noise_ratio(data_range=1)"

    def values(self, batch: Batch) -> Tensor:
        difference = distinct(batch.originals).double() - distinct(batch.reconstructions).double()  # (B, C, H, W)
        return -10 * difference.square().mean((1, 2, 3)).log10()
