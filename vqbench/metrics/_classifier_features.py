"""The base class of metrics that compare what a classifier sees in two images."""

from __future__ import annotations

from torch import Tensor

from vqbench.errors import RunError
from vqbench.metric import Batch, Context, ImageMetric
from vqbench.networks import efficientnet
from vqbench.networks.feature_cache import FeatureCache
from vqbench.protocol import MeasureProtocol

SMALLEST = 64  # pixels; below, images would be enlarged more than 3.5 times to the network's input


class ClassifierMetric(ImageMetric):
    """Compares the features of an ImageNet classifier, EfficientNet-Lite0.

    Those of the originals are computed once and kept in memory for the next runs in this process, 5 kB per image.
    """

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return (efficientnet.ASSET,)

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        return SMALLEST

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.net = efficientnet.network(context.device)
        self.originals = FeatureCache(None, context.keep)

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return pooled features (B, 1280) of originals and reconstructions.

        They are on the CPU, and computed once for all metrics of a batch. Raises RunError for images that are too
        small.
        """
        height, width = batch.originals.shape[-2:]
        if min(height, width) < SMALLEST:
            needed = f"needs images of at least {SMALLEST}x{SMALLEST} pixels"
            raise RunError(f"{self.label} {needed}, these are {height}x{width}")

        def of_originals(places: list[int]) -> Tensor:
            key = "classifier", "originals", *places
            return batch.shared(key, lambda: self._of_images(batch.originals[places]))

        key = "classifier", "reconstructions"
        return (
            self.originals.get(batch.index.tolist(), of_originals),
            batch.shared(key, lambda: self._of_images(batch.reconstructions)),
        )

    def _of_images(self, images: Tensor) -> Tensor:
        """Compute pooled features (B, 1280) of images in [0, 1], on the CPU."""
        return efficientnet.image_features(self.net, images).cpu()
