"""The base class of metrics that compare features of reconstructions."""

from __future__ import annotations

from torch import Tensor

from vqbench.metric import Batch, Context, Metric
from vqbench.networks import feature_cache, inception
from vqbench.protocol import MeasureProtocol


class FeatureMetric(Metric):
    """Compares Inception's features of originals and reconstructions.

    They are the 2048 of pool3, by the extractor of the protocol.
    """

    knobs = (*Metric.knobs, "fid_resize")

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ("inception_fid",)

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.net = inception.network(context.device)
        self.originals = feature_cache.FeatureCache(
            feature_cache.features_path(context.protocol, context.dataset, context.device), context.keep
        )

    def features(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return features (B, 2048) of originals, if possible cached, and others.

        They are computed once for all metrics of a batch.
        """
        resize = self.context.protocol.fid_resize

        def compute(places: list[int]) -> Tensor:
            return batch.shared(
                ("originals", resize, *places), lambda: inception.features(self.net, batch.originals[places], resize)
            )

        originals = self.originals.get(batch.index.tolist(), compute)
        reconstructions = batch.shared(
            ("reconstructions", resize), lambda: inception.features(self.net, batch.reconstructions, resize)
        )
        return originals, reconstructions


def select(batch: Batch, kept: Tensor) -> Batch:
    """Return the images of ``batch`` that are ``kept``, (B,) bool."""
    if kept.all():
        return batch  # with what other metrics have computed of it
    here = kept.to(batch.originals.device)
    codes = None if batch.codes is None else batch.codes[here]
    return Batch(batch.originals[here], batch.reconstructions[here], codes, batch.index[kept])
