"""KID of generated images."""

from __future__ import annotations

from typing import ClassVar

from vqbench.errors import RunError
from vqbench.metric import SampleMetric, Samples
from vqbench.metrics._feature_distances import SUBSET_SIZE, kernel_mmd


class SampleKID(SampleMetric):
    """Squared MMD of features of samples and references, times 1,000.

    E[k(x, x')] + E[k(y, y')] - 2 E[k(x, y)] with the polynomial kernel k(x, y) = (x·y / 2048 + 1)³ on the 2048 features
    of pool3 (Bińkowski et al. 2018, section 4). Its estimate is unbiased, so it may be a little below 0; lower is
    better.

    torch-fidelity's estimate: the mean over 100 random subsets of 1,000 (its seed, 2020); one subset of as many as
    there are where samples or references are 1,000 or fewer, below which it is not ranked. RunError for fewer than 2.
    """

    label = "KID"
    unit = "×10³"
    better = "min"
    digits = 2
    few = SUBSET_SIZE
    fewest = 2
    exempt: ClassVar = {
        "sample_order_does_not_matter": "of more references than samples it takes as many, as torch-fidelity does"
    }
    reference = "Bińkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv 1801.01401"

    def measure(self, samples: Samples) -> float:
        count = min(len(samples.features), len(samples.references))
        if count < 2:
            raise RunError(f"KID needs at least 2 samples and 2 references, and was given {count}")
        return 1000 * kernel_mmd(samples.features, samples.references)
