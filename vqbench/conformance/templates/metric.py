"""What this metric measures, in one line."""

from __future__ import annotations

from torch import Tensor

from vqbench.metric import Batch, ImageMetric


class MetricTemplate(ImageMetric):
    """Mean over images of the root of the mean squared error; put your metric here.

    sqrt(mean((x - y)²)) over all values of an image, for pixels in [0, 1]. In [0, 1]; 0 for identical images.
    """

    label = "RMSE"  # in the head of a table
    unit = ""
    better = "min"  # or "max"
    ideal = 0.0  # of identical images
    digits = 4  # decimals in a table
    reference = "the paper or library that defines it"
    VERSION = 1  # raise it when a change of the code changes a value: stored ones are then computed again

    # The mean over images, batches and ranks is taken for you, in float64. A number that is no such mean (a share of
    # codes, a distance between sets of images) derives from vqbench.metric.Metric: reset() sets self.state to zeros,
    # update(batch) adds to it, compute() turns its sum over all batches and ranks into the number.
    def values(self, batch: Batch) -> Tensor:
        """Return the value of each image of ``batch``: (B,).

        batch.originals and batch.reconstructions are (B, C, H, W) float32 in [0, 1], as the protocol prepares them;
        batch.codes are (B, h, w, depth), None without a quantizer.
        """
        difference = batch.originals.double() - batch.reconstructions.double()  # (B, C, H, W)
        return difference.square().mean((1, 2, 3)).sqrt()
