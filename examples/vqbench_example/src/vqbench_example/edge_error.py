"""How much of the edges a reconstruction misses."""

from __future__ import annotations

from torch import Tensor

from vqbench.metric import Batch, ImageMetric


class EdgeError(ImageMetric):
    """Mean over images of the mean absolute difference of their gradients.

    Gradients are differences of neighbouring pixels in [0, 1], downwards and to the right. In [0, 2]; 0 for images that
    are equal up to a constant.
    """

    label = "Edge error"
    better = "min"
    ideal = 0.0
    digits = 4
    reference = "an example of vqbench"
    VERSION = 1

    @classmethod
    def smallest(cls, protocol: object) -> int:
        return 2  # pixels a side: one has no neighbour

    def values(self, batch: Batch) -> Tensor:
        error = batch.originals.double() - batch.reconstructions.double()  # (B, C, H, W)
        down, right = error.diff(dim=2).abs(), error.diff(dim=3).abs()
        return (down.mean((1, 2, 3)) + right.mean((1, 2, 3))) / 2
