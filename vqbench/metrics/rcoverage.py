"""Coverage of the originals by reconstructions."""

from __future__ import annotations

from vqbench.metrics._reconstruction_features import FEW, KeptFeatures
from vqbench.metrics.density import NEIGHBOURS, density_and_coverage


class ReconstructionCoverage(KeptFeatures):
    """Share of originals in whose neighbourhood a reconstruction lies.

    Counts an original with at least one reconstruction nearer than its fifth nearest other original (Naeem et al. 2020,
    section 3): :mod:`vqbench.metrics.coverage` with the originals as references and the reconstructions as samples, in
    the features of rFID under the same protocol. In [0, 1]; higher is better.

    Reconstructions and originals are pairs, so values are near the ideal for any usable autoencoder, and say more of
    blurred or collapsed reconstructions than of good ones. Of more than 10,000 images, the first 10,000 count. RunError
    for 5 or fewer images.
    """

    label = "rCoverage"
    fewest = NEIGHBOURS + 1
    better = "max"
    ideal = 1.0
    digits = 3
    few = FEW
    reference = "Naeem et al., Reliable Fidelity and Diversity Metrics, ICML 2020, arXiv 2002.09797"

    def compute(self) -> float:
        originals, reconstructions = self.kept()
        return density_and_coverage(reconstructions, originals, self.context.device)[1]
