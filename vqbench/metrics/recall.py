"""Recall of generated images."""

from __future__ import annotations

from vqbench.metric import SampleMetric, Samples
from vqbench.metrics.precision import NEIGHBOURS, precision_and_recall


class Recall(SampleMetric):
    """Share of references that lie among the samples: no farther from one of them than its third nearest sample.

    In Inception's features (the paper: VGG's), by torch-fidelity. How varied samples are; how faithful,
    :mod:`vqbench.metrics.precision` says.
    """

    label = "Recall"
    fewest = NEIGHBOURS + 1
    better = "max"
    digits = 3
    reference = "Kynkäänniemi et al., Improved Precision and Recall Metric, NeurIPS 2019, arXiv 1904.06991"

    def measure(self, samples: Samples) -> float:
        return samples.shared(precision_and_recall)[1]
