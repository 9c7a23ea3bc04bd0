"""Reconstruction FID."""

from __future__ import annotations

from typing import ClassVar

from vqbench.errors import RunError
from vqbench.metric import Batch
from vqbench.metrics._feature_distances import Moments, add_features, frechet_distance, moments_in, zero_sums
from vqbench.metrics._reconstruction_features import SIDES, FeatureMetric
from vqbench.networks import inception


class RFID(FeatureMetric):
    """Fréchet distance of features of originals and reconstructions.

    |m - m'|² + tr(S + S' - 2 (S S')^(1/2)), with the means m and unbiased covariances S of the 2048 features of pool3
    (Heusel et al. 2017, equation 6). At least 0; lower is better.

    Images are in 8 bits, grey tiled to RGB. Under a protocol without an additional resize it is torch-fidelity's FID:
    its extractor and its distance, below 2,048 images without the distance's rounding errors (2e-6 of the value). With
    one (229) it is that of CVQ-VAE's released code: Pillow's resize, the same network, and the root by scipy.

    It is biased upwards: below 2,048 images the covariances are singular and the value depends strongly on how many
    there are, so it is not ranked; compare only values of equally many images. RunError for fewer than 2.
    """

    label = "rFID"
    better = "min"
    ideal: ClassVar[float | None] = 0.0
    digits = 2
    in_paper = True
    few = inception.DIM
    fewest = 2
    reference = "Heusel et al., GANs Trained by a Two Time-Scale Update Rule, NeurIPS 2017, arXiv 1706.08500"

    def reset(self) -> None:
        self.state = {name: zeros for side in SIDES for name, zeros in zero_sums(side).items()}

    def update(self, batch: Batch) -> None:
        for side, features in zip(SIDES, self.features(batch), strict=True):
            add_features(self.state, side, features)

    def compute(self) -> float:
        count = int(min(self.state[f"{side}_count"] for side in SIDES))
        if count < 2:
            raise RunError(f"{self.label} needs at least 2 images, for their covariance, and was given {count}")
        self.originals.save()
        return frechet_distance(self.context.protocol, self.moments("originals"), self.moments("reconstructions"))

    def moments(self, side: str) -> Moments:
        """Return the moments of the ``originals`` or ``reconstructions`` so far."""
        return moments_in(self.state, side)
