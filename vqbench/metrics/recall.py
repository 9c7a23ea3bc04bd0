"""Recall of the references by samples."""

from __future__ import annotations

from vqbench.metric import SampleMetric, Samples
from vqbench.metrics.precision import NEIGHBOURS, of_samples


class Recall(SampleMetric):
    """Diversity of samples: the share of references that lie among them.

    A reference counts if it is no farther from a sample than that one's third nearest other sample:
    1 / M · sum_i max_j [|x_i - y_j| <= r_j] over the M references x and the samples y, where r_j is the distance of y_j
    to its third nearest other sample (Kynkäänniemi et al. 2019, equations 1 and 2). In [0, 1]; higher is better.

    In Inception's features (the paper: VGG's), by torch-fidelity. The fidelity of samples is measured by
    :mod:`vqbench.metrics.precision`. RunError for 3 or fewer samples or references.
    """

    label = "Recall"
    fewest = NEIGHBOURS + 1
    better = "max"
    ideal = 1.0
    digits = 3
    reference = "Kynkäänniemi et al., Improved Precision and Recall Metric, NeurIPS 2019, arXiv 1904.06991"

    def measure(self, samples: Samples) -> float:
        return samples.shared(of_samples)[1]
