"""Mean absolute difference."""

from __future__ import annotations

from torch import Tensor

from vqbench.images import differences
from vqbench.metric import Batch, ImageMetric


class L1(ImageMetric):
    """Mean absolute difference of pixels in [0, 1].

    mean |x - y| over all values of an image, then over images. In [0, 1]; lower is better.
    """

    label = "l1"
    better = "min"
    ideal = 0.0
    digits = 4
    in_paper = True
    reference = "mean |x - y|"

    def values(self, batch: Batch) -> Tensor:
        return differences(batch.originals, batch.reconstructions).abs_().mean((1, 2, 3))
