"""Coverage of the references by samples."""

from __future__ import annotations

from vqbench.metric import SampleMetric, Samples
from vqbench.metrics.density import NEIGHBOURS, of_samples


class Coverage(SampleMetric):
    """Share of references in whose neighbourhood at least one sample lies.

    1 / M · sum_i max_j [|x_i - y_j| < r_i] over the M references x and the samples y, with the radii r of
    :mod:`vqbench.metrics.density` (Naeem et al. 2020, section 3). In [0, 1]; higher is better.

    Balls are drawn around references, so an outlying sample covers little, while recall counts all references in that
    sample's wide ball. It rises with the number of samples, so compare values of equally many; as many samples as
    references, from their own distribution, reach 0.97. RunError for 5 or fewer references, or no sample.
    """

    label = "Coverage"
    fewest = NEIGHBOURS + 1
    better = "max"
    ideal = 1.0
    digits = 3
    reference = "Naeem et al., Reliable Fidelity and Diversity Metrics, ICML 2020, arXiv 2002.09797"

    def measure(self, samples: Samples) -> float:
        return samples.shared(of_samples, self.context.device)[1]
