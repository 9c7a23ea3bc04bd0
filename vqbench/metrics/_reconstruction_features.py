"""The base classes of metrics that compare features of reconstructions."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.metric import Batch, Context, Metric
from vqbench.networks import feature_cache, inception
from vqbench.protocol import FidInput, FidResize, MeasureProtocol

MOST = 10_000  # images whose features are kept in memory: the first ones
FEW = 1_000  # images below which neighbours among 2,048 features say little
SIDES = ("originals", "reconstructions")


class FeatureMetric(Metric):
    """Compares Inception's features of originals and reconstructions.

    They are the 2048 of pool3, by the extractor of the protocol. The images are two sets: a batch may have images on
    one side alone, and what begins with the name of a side in ``state`` is of that side.
    """

    of_sets = True
    knobs = (*Metric.knobs, "fid_resize", "fid_input")

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
        return self.features_of_originals(batch), self.features_of_reconstructions(batch)

    def features_of_originals(self, batch: Batch) -> Tensor:
        """Return features (B, 2048) of the originals, if possible cached."""
        path = self._path()

        def compute(places: list[int]) -> Tensor:
            return batch.shared(
                ("originals", path, *places), lambda: inception.features(self.net, batch.originals[places], *path)
            )

        if not len(batch.originals):
            return torch.empty(0, inception.DIM)
        return self.originals.get(batch.index.tolist(), compute)

    def features_of_reconstructions(self, batch: Batch) -> Tensor:
        """Return features (B, 2048) of the reconstructions."""
        if not len(batch.reconstructions):
            return torch.empty(0, inception.DIM)
        key = "reconstructions", self._path()
        return batch.shared(key, lambda: self.features_of_images(batch.reconstructions))

    def features_of_images(self, images: Tensor) -> Tensor:
        """Return features (B, 2048) of ``images`` (B, C, H, W) as measured."""
        return inception.features(self.net, images, *self._path())

    def _path(self) -> tuple[int | FidResize | None, FidInput | None]:
        """Return how the protocol resizes images, and to what network input."""
        return self.context.protocol.fid_resize, self.context.protocol.fid_input


class KeptFeatures(FeatureMetric):
    """Compares the features of single images, so keeps them.

    Those of the first 10,000 images, which take 160 MB.
    """

    def reset(self) -> None:
        # By position in the test split: a rank has zeros where another one has features, so that states add up.
        self.state = {side: torch.zeros(MOST, inception.DIM) for side in SIDES}
        self.state |= {f"{side}_seen": torch.zeros(MOST) for side in SIDES}

    def update(self, batch: Batch) -> None:
        batch = select(batch, batch.index < MOST)
        if len(batch.index) == 0:
            return
        for side, features in zip(SIDES, self.features(batch), strict=True):
            if len(features):
                self.state[side][batch.index] = features
                self.state[f"{side}_seen"][batch.index] += 1

    def kept(self) -> tuple[Tensor, Tensor]:
        """Return the features of originals (N, 2048) and reconstructions (M, 2048).

        Raises RunError for fewer images than the metric needs.
        """
        originals, reconstructions = (self.state[side][self.state[f"{side}_seen"] > 0] for side in SIDES)
        count = min(len(originals), len(reconstructions))
        if count < self.fewest:
            raise RunError(f"{self.label} needs at least {self.fewest} images, and was given {count}")
        self.originals.save()
        return originals, reconstructions


def select(batch: Batch, kept: Tensor) -> Batch:
    """Return the images of ``batch`` that are ``kept``, (B,) bool."""
    if kept.all():
        return batch  # with what other metrics have computed of it
    here = kept.to(batch.originals.device)
    codes = None if batch.codes is None else batch.codes[here]
    originals, reconstructions = (
        side[here] if len(side) else side for side in (batch.originals, batch.reconstructions)
    )
    latents = None if batch.latents is None else batch.latents[here]
    return Batch(originals, reconstructions, codes, batch.index[kept], latents)
