"""Reconstruction KID."""

from __future__ import annotations

import torch

from vqbench.errors import RunError
from vqbench.metric import Batch
from vqbench.metrics._features import OfFeatures, some
from vqbench.networks import inception
from vqbench.networks.compat import ensure_torchvision

MOST = 10_000  # images whose features are kept, for memory's sake: the first ones
SUBSETS, SIZE = 100, 1_000  # torch-fidelity's defaults


class KID(OfFeatures):
    """Squared maximum mean discrepancy of Inception features of originals and of reconstructions, times 1,000.

    Polynomial kernel (x·y / 2048 + 1)³ on the 2048 features of pool3, the extractor being that of rFID under the same
    protocol. torch-fidelity's estimate: the mean over 100 random subsets of 1,000 images (its seed, 2020) of the
    unbiased MMD²; one subset of all images where there are 1,000 or fewer. Of more than 10,000 images, the first
    10,000 count.

    Unbiased, unlike rFID, so that values from different numbers of images estimate the same; but they scatter, the
    more the fewer images there are, and may be negative. RunError for fewer than 2.
    """

    label = "KID"
    unit = "×10³"
    better = "min"
    digits = 2
    few = SIZE
    fewest = 2
    reference = "Bińkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv 1801.01401"

    def reset(self) -> None:
        """Rows by position in the test split: of two ranks, each holds zeros where the other saw images."""
        self.state = {side: torch.zeros(MOST, inception.DIM) for side in ("originals", "reconstructions")}
        self.state["seen"] = torch.zeros(MOST)

    def update(self, batch: Batch) -> None:
        batch = some(batch, batch.index < MOST)
        if len(batch.index) == 0:
            return
        for side, features in zip(("originals", "reconstructions"), self.features(batch), strict=True):
            self.state[side][batch.index] = features
        self.state["seen"][batch.index] += 1

    def compute(self) -> float:
        seen = self.state["seen"] > 0
        count = int(seen.sum())
        if count < 2:
            raise RunError(f"KID needs at least 2 images, for its kernel between them, and was given {count}")
        self.originals.save()
        ensure_torchvision()
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

        size = min(SIZE, count)
        found = kid_features_to_metric(
            self.state["originals"][seen],
            self.state["reconstructions"][seen],
            kid_subset_size=size,
            kid_subsets=SUBSETS if count > size else 1,
            verbose=False,
        )
        return 1000 * float(found[KEY_METRIC_KID_MEAN])
