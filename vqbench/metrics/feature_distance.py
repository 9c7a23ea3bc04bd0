"""Distance of a classifier's features of originals and reconstructions."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize

from vqbench.metric import Batch
from vqbench.metrics._classifier_features import ClassifierMetric


class FeatureDistance(ClassifierMetric):
    """Cosine distance of a classifier's features of original and reconstruction.

    1 − f·g / (‖f‖ ‖g‖), with the penultimate features f, g of EfficientNet-Lite0 (1,280, pooled over all positions and
    after ReLU6, the input of its last layer), then the mean over images. Features are not negative, so it is in [0, 1];
    lower is better, and 0 for equal images. Where ``classifier_agreement`` counts changes of the class, this sees
    smaller ones as well.

    Cosine, as CLIP-I and DINO compare images (Ruiz et al. 2023): the direction of features says what is shown, their
    length how strongly, which contrast alone changes. It is half the squared Euclidean distance of the features at unit
    length, and is computed so, in float64, so that near images do not cancel.

    Network, resizing and normalisation are those of ``classifier_agreement``. RunError for images smaller than 64
    pixels.

    Off by default: no suite names it. On one CPU core, the network takes about 25 ms per image.
    """

    label = "Feature dist."
    better = "min"
    ideal = 0.0
    digits = 4
    reference = (
        "cosine of image features as in Ruiz et al., DreamBooth, CVPR 2023, arXiv 2208.12242; network: Lite form "
        "of Tan and Le, EfficientNet, ICML 2019, arXiv 1905.11946"
    )

    def values(self, batch: Batch) -> Tensor:
        first, second = (normalize(each.double(), dim=1) for each in self.features(batch))  # (B, 1280)
        return (first - second).square().sum(1) / 2
