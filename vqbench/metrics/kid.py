"""Reconstruction KID."""

from __future__ import annotations

from vqbench.metrics._feature_distances import SUBSET_SIZE, kernel_mmd
from vqbench.metrics._reconstruction_features import KeptFeatures


class KID(KeptFeatures):
    """Squared MMD of features of originals and reconstructions, times 1,000.

    E[k(x, x')] + E[k(y, y')] - 2 E[k(x, y)] with the polynomial kernel k(x, y) = (x·y / 2048 + 1)³ on the 2048 features
    of pool3 (Bińkowski et al. 2018, section 4), by the extractor of rFID under the same protocol. Its estimate is
    unbiased, so it may be a little below 0; lower is better.

    torch-fidelity's estimate: the mean over 100 random subsets of 1,000 images (its seed, 2020); one subset of all
    images where there are 1,000 or fewer, below which it is not ranked. Of more than 10,000 images, the first 10,000
    count. Unlike rFID, values of different numbers of images estimate the same quantity, but scatter more the fewer
    images there are. RunError for fewer than 2.
    """

    label = "KID"
    unit = "×10³"
    better = "min"
    digits = 2
    few = SUBSET_SIZE
    fewest = 2
    reference = "Bińkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv 1801.01401"

    def compute(self) -> float:
        return 1000 * kernel_mmd(*self.kept())
