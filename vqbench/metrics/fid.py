"""FID of generated images."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from vqbench.errors import RunError
from vqbench.metric import SampleMetric, Samples
from vqbench.metrics.rfid import scipy_distance, torch_fidelity_distance
from vqbench.networks import inception


class FID(SampleMetric):
    """Fréchet distance between Inception features of samples and of the reference split.

    Extractor and distance are those of rFID under the same protocol: torch-fidelity's, or the released code's. It is
    biased, and the more the fewer samples or references there are: compare only values from equally many samples
    against the same references. From fewer than 2,048 of either, whose covariance is singular, it ranks nothing.
    RunError for fewer than 2.
    """

    label = "FID"
    better = "min"
    digits = 2
    few = inception.DIM
    fewest = 2
    reference = "Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, arXiv 1706.08500"

    def measure(self, samples: Samples) -> float:
        distance = torch_fidelity_distance if self.context.protocol.fid_resize is None else scipy_distance
        return distance(*_moments(samples.references), *_moments(samples.features))


def _moments(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (2048,) and unbiased covariance (2048, 2048) of features (N, 2048)."""
    if len(features) < 2:
        raise RunError(f"FID needs at least 2 images, for their covariance, and was given {len(features)}")
    exact = features.double().numpy()
    return exact.mean(0), np.cov(exact, rowvar=False)
