"""Peak signal-to-noise ratio."""

from __future__ import annotations

import math

from torch import Tensor

from vqbench.images import differences
from vqbench.metric import Batch, ImageMetric


class PSNR(ImageMetric):
    """Mean over images of 10 log10(1 / MSE) for pixels in [0, 1], in dB.

    The MSE is over all values of an image. At least 0; higher is better. It is the mean of the values per image, not
    the value of the data set's mean error, which is smaller. An image without any error has an infinite value, as in
    scikit-image, and so has the mean.

    The protocol's ``psnr_range`` takes the place of 1 in the numerator. With a ``psnr_mean`` of ``set`` the value is
    that of the mean error of all images; values per image are the same as without.
    """

    label = "PSNR"
    unit = "dB"
    better = "max"
    ideal = math.inf
    digits = 2
    in_paper = True
    knobs = (*ImageMetric.knobs, "psnr_range", "psnr_mean")
    reference = "scikit-image, peak_signal_noise_ratio(data_range=1)"

    def values(self, batch: Batch) -> Tensor:
        return self._decibels(_errors(batch))

    def update(self, batch: Batch) -> Tensor:
        if self.context.protocol.psnr_mean == "image":
            return super().update(batch)
        errors = _errors(batch).cpu()  # (B,)
        self.state["sum"] += errors.sum()
        self.state["count"] += len(errors)
        return self._decibels(errors)

    def compute(self) -> float:
        mean = self.state["sum"] / self.state["count"]
        return float(mean if self.context.protocol.psnr_mean == "image" else self._decibels(mean))

    def _decibels(self, errors: Tensor) -> Tensor:
        return 20 * math.log10(self.context.protocol.psnr_range) - 10 * errors.log10()


def _errors(batch: Batch) -> Tensor:
    """Return the mean squared error of each image, (B,) float64."""
    return differences(batch.originals, batch.reconstructions).square_().mean((1, 2, 3))
