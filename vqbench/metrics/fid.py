"""FID of generated images."""

from __future__ import annotations

from vqbench.errors import RunError
from vqbench.metric import SampleMetric, Samples
from vqbench.metrics._feature_distances import frechet_distance, moments
from vqbench.networks import inception


class FID(SampleMetric):
    """Fréchet distance of Inception's features of samples and references.

    |m - m'|² + tr(S + S' - 2 (S S')^(1/2)), with the means m and unbiased covariances S of the 2048 features of pool3
    (Heusel et al. 2017, equation 6). At least 0; lower is better.

    Extractor and distance are those of rFID under the same protocol: torch-fidelity's, or the released code's of
    CVQ-VAE. It is biased upwards, the more so the fewer samples or references exist: compare only values of equally
    many samples against the same references. Below 2,048 of either, where the covariance is singular, it is not ranked.
    RunError for fewer than 2.
    """

    label = "FID"
    better = "min"
    ideal = 0.0
    digits = 2
    few = inception.DIM
    fewest = 2
    reference = "Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, arXiv 1706.08500"

    def measure(self, samples: Samples) -> float:
        for features in (samples.references, samples.features):
            if len(features) < 2:
                raise RunError(f"FID needs at least 2 images, for their covariance, and was given {len(features)}")
        return frechet_distance(self.context.protocol, moments(samples.references), moments(samples.features))
