"""Reconstruction KID."""

from __future__ import annotations

import torch

from vqbench.errors import RunError
from vqbench.metric import Batch
from vqbench.metrics._feature_distances import SUBSET_SIZE, kernel_mmd
from vqbench.metrics._reconstruction_features import SIDES, FeatureMetric, select
from vqbench.networks import inception

MOST = 10_000  # images whose features are kept in memory: the first ones


class KID(FeatureMetric):
    """Squared MMD of features of originals and reconstructions, times 1,000.

    E[k(x, x')] + E[k(y, y')] - 2 E[k(x, y)] with the polynomial kernel k(x, y) = (x·y / 2048 + 1)³ on the 2048 features
    of pool3 (Bińkowski et al. 2018, section 4), by the extractor of rFID under the same protocol. Its estimate is
    unbiased, so it may be a little below 0; lower is better.

    torch-fidelity's estimate: the mean over 100 random subsets of 1,000 images (its seed, 2020); one subset of all
    images where there are 1,000 or fewer, below which it is not ranked. Of more than 10,000 images, the first 10,000
    count. Unlike rFID, values of different numbers of images estimate the same quantity, but scatter more the fewer
    images there are. RunError for fewer than 2.
    """

    label = "KID"
    unit = "×10³"
    better = "min"
    digits = 2
    few = SUBSET_SIZE
    fewest = 2
    reference = "Bińkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv 1801.01401"

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

    def compute(self) -> float:
        originals, reconstructions = (self.state[side][self.state[f"{side}_seen"] > 0] for side in SIDES)  # (N, 2048)
        count = min(len(originals), len(reconstructions))
        if count < 2:
            raise RunError(f"KID needs at least 2 images, for its kernel between them, and was given {count}")
        self.originals.save()
        return 1000 * kernel_mmd(originals, reconstructions)
