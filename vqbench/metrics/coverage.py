"""Coverage of the references by generated images."""

from __future__ import annotations

from vqbench.metric import SampleMetric, Samples
from vqbench.metrics.density import NEIGHBOURS, density_and_coverage


class Coverage(SampleMetric):
    """Share of references in whose neighbourhood lies at least one sample.

    The neighbourhood is that of :mod:`vqbench.metrics.density`: a ball that reaches to the fifth nearest other
    reference, its surface not included. Balls are drawn around references, so one sample far out covers little, where
    recall would take all in its wide ball for covered. It rises with the number of samples, so compare values of
    equally many; as many samples as references, from their own distribution, come to 0.97.
    """

    label = "Coverage"
    fewest = NEIGHBOURS + 1
    better = "max"
    digits = 3
    reference = "Naeem et al., Reliable Fidelity and Diversity Metrics, ICML 2020, arXiv 2002.09797"

    def measure(self, samples: Samples) -> float:
        return samples.shared(density_and_coverage, self.context.device)[1]
