"""Precision of samples."""

from __future__ import annotations

from torch import Tensor

from vqbench.errors import RunError
from vqbench.metric import SampleMetric, Samples
from vqbench.networks.compat import ensure_torchvision

NEIGHBOURS = 3  # the paper's k, and torch-fidelity's


class Precision(SampleMetric):
    """Fidelity of samples: the share that lie among the references.

    A sample counts if it is no farther from a reference than that one's third nearest other reference:
    1 / N · sum_j max_i [|x_i - y_j| <= r_i] over the references x and the N samples y, where r_i is the distance of x_i
    to its third nearest other reference (Kynkäänniemi et al. 2019, equations 1 and 2). In [0, 1]; higher is better.

    In Inception's features (the paper: VGG's), by torch-fidelity. Samples from the references' own distribution do not
    reach 1: each lies in three balls on average, however many references exist, but some in many and others in none.
    1,000 of normal features reach 0.98 in 2 dimensions and 0.8 in 16, from 250 references as from 4,000; in 64
    dimensions the value falls from 0.67 to 0.6. So compare values of equally many. The diversity of samples is measured
    by :mod:`vqbench.metrics.recall`. RunError for 3 or fewer samples or references.
    """

    label = "Precision"
    fewest = NEIGHBOURS + 1
    better = "max"
    ideal = 1.0
    digits = 3
    reference = "Kynkäänniemi et al., Improved Precision and Recall Metric, NeurIPS 2019, arXiv 1904.06991"

    def measure(self, samples: Samples) -> float:
        return samples.shared(of_samples)[0]


def of_samples(samples: Samples) -> tuple[float, float]:
    """Compute precision and recall of ``samples``; see :func:`precision_and_recall`."""
    return precision_and_recall(samples.features, samples.references)


def precision_and_recall(features: Tensor, references: Tensor) -> tuple[float, float]:
    """Compute precision and recall as torch-fidelity does.

    Features are (N, D) of the samples and (M, D) of the references. Raises RunError for too few images
    to have neighbours.
    """
    fewest = min(len(features), len(references))
    if fewest <= NEIGHBOURS:
        raise RunError(f"precision and recall need more than {NEIGHBOURS} samples and references, not {fewest}")
    ensure_torchvision()
    from torch_fidelity.metric_prc import calculate_precision_recall_part

    values: tuple[float, float] = calculate_precision_recall_part(features, references, NEIGHBOURS)
    return values
