"""Precision of generated images."""

from __future__ import annotations

from vqbench.errors import RunError
from vqbench.metric import SampleMetric, Samples
from vqbench.networks.compat import ensure_torchvision

NEIGHBOURS = 3  # the paper's k, and torch-fidelity's


class Precision(SampleMetric):
    """Share of samples that lie among the references: no farther from one of them than its third nearest reference.

    In Inception's features (the paper: VGG's), by torch-fidelity. Samples from the references' own distribution do not
    come to 1: each lies in three balls on average, however many references there are, but some in many and others in
    none. 1,000 of normal features come to 0.98 in 2 dimensions and 0.8 in 16, from 250 references as from 4,000; in 64
    dimensions the value falls from 0.67 to 0.6. So compare values of equally many. How faithful samples are; how
    varied, :mod:`vqbench.metrics.recall` says.
    """

    label = "Precision"
    fewest = NEIGHBOURS + 1
    better = "max"
    digits = 3
    reference = "Kynkäänniemi et al., Improved Precision and Recall Metric, NeurIPS 2019, arXiv 1904.06991"

    def measure(self, samples: Samples) -> float:
        return samples.shared(precision_and_recall)[0]


def precision_and_recall(samples: Samples) -> tuple[float, float]:
    """torch-fidelity's precision and recall. Raises RunError for as few images of either kind as neighbours."""
    fewest = min(len(samples.features), len(samples.references))
    if fewest <= NEIGHBOURS:
        raise RunError(f"precision and recall need more than {NEIGHBOURS} images of either kind, not {fewest}")
    ensure_torchvision()
    from torch_fidelity.metric_prc import calculate_precision_recall_part

    values: tuple[float, float] = calculate_precision_recall_part(samples.features, samples.references, NEIGHBOURS)
    return values
