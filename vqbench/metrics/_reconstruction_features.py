"""The base class of metrics that compare features of reconstructions."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.metric import Batch, Context, Metric
from vqbench.networks import feature_cache, inception
from vqbench.protocol import MeasureProtocol

SIDES = ("originals", "reconstructions")


class FeatureMetric(Metric):
    """Compares Inception's features of originals and reconstructions.

    They are the 2048 of pool3, by the extractor of the protocol. The images are two sets: a batch may have images on
    one side alone, and what begins with the name of a side in ``state`` is of that side.
    """

    of_sets = True
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

        def compute_others() -> Tensor:
            return inception.features(self.net, batch.reconstructions, resize)

        nothing = torch.empty(0, inception.DIM)
        originals = self.originals.get(batch.index.tolist(), compute) if len(batch.originals) else nothing
        others = len(batch.reconstructions) > 0
        return originals, batch.shared(("reconstructions", resize), compute_others) if others else nothing


def select(batch: Batch, kept: Tensor) -> Batch:
    """Return the images of ``batch`` that are ``kept``, (B,) bool."""
    if kept.all():
        return batch  # with what other metrics have computed of it
    here = kept.to(batch.originals.device)
    codes = None if batch.codes is None else batch.codes[here]
    originals, reconstructions = (
        side[here] if len(side) else side for side in (batch.originals, batch.reconstructions)
    )
    return Batch(originals, reconstructions, codes, batch.index[kept])
