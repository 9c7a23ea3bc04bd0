"""Recall of originals by reconstructions."""

from __future__ import annotations

from vqbench.metrics._reconstruction_features import FEW, KeptFeatures
from vqbench.metrics.precision import NEIGHBOURS, precision_and_recall


class ReconstructionRecall(KeptFeatures):
    """Share of originals that lie among the reconstructions.

    An original counts if it is no farther from a reconstruction than that one's third nearest other reconstruction
    (Kynkäänniemi et al. 2019, equations 1 and 2): :mod:`vqbench.metrics.recall` with the originals as references and
    the reconstructions as samples, in the features of rFID under the same protocol. In [0, 1]; higher is better.

    Reconstructions and originals are pairs, so values are near the ideal for any usable autoencoder, and say more of
    blurred or collapsed reconstructions than of good ones. Of more than 10,000 images, the first 10,000 count. RunError
    for 3 or fewer images.
    """

    label = "rRecall"
    fewest = NEIGHBOURS + 1
    better = "max"
    ideal = 1.0
    digits = 3
    few = FEW
    reference = "Kynkäänniemi et al., Improved Precision and Recall Metric, NeurIPS 2019, arXiv 1904.06991"

    def compute(self) -> float:
        originals, reconstructions = self.kept()
        return precision_and_recall(reconstructions, originals)[1]
