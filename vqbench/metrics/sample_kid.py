"""KID of generated images."""

from __future__ import annotations

from vqbench.errors import RunError
from vqbench.metric import SampleMetric, Samples
from vqbench.networks.compat import ensure_torchvision

SUBSETS, SIZE = 100, 1_000  # torch-fidelity's defaults


class SampleKID(SampleMetric):
    """Squared maximum mean discrepancy between Inception features of samples and of the reference split, times 1,000.

    torch-fidelity's: polynomial kernel (x·y / 2048 + 1)³, the mean over 100 random subsets of 1,000 (its seed, 2020) of
    the unbiased estimate; one subset of as many as there are where samples or references are 1,000 or fewer. Unbiased,
    so it may be a little below zero. RunError for fewer than 2.
    """

    label = "KID"
    unit = "×10³"
    better = "min"
    digits = 2
    few = SIZE
    fewest = 2
    reference = "Bińkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv 1801.01401"

    def measure(self, samples: Samples) -> float:
        count = min(len(samples.features), len(samples.references))
        if count < 2:
            raise RunError(f"KID needs at least 2 images of either kind, and was given {count}")
        ensure_torchvision()
        from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric

        found = kid_features_to_metric(
            samples.features,
            samples.references,
            kid_subset_size=min(SIZE, count),
            kid_subsets=SUBSETS if count > SIZE else 1,
            verbose=False,
        )
        return 1000 * float(found[KEY_METRIC_KID_MEAN])
