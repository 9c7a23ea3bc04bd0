"""Density of samples among the references."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.errors import RunError
from vqbench.functional.neighbours import distances, kth_distance
from vqbench.metric import TOGETHER, SampleMetric, Samples

NEIGHBOURS = 5  # the paper's k


class Density(SampleMetric):
    """Fidelity of samples: the density of references around them.

    The mean number of references in whose neighbourhood a sample lies, divided by 5:
    1 / (5 N) · sum_ij [|x_i - y_j| < r_i] over the references x and the N samples y, where r_i is the distance of x_i
    to its fifth nearest other reference (Naeem et al. 2020, section 3). At least 0, not bounded by 1; higher is better.
    Samples from the references' own distribution reach 1.

    A sample counts once for every ball that contains it, so an outlying reference adds little, while precision counts
    every sample in that reference's wide ball. In Inception's features (the paper: VGG's), in float64. As in the
    package of the paper's authors, prdc, a sample at exactly the radius is outside, and the ball of a reference that
    occurs more than five times, of radius 0, contains nothing. The diversity of samples is measured by
    :mod:`vqbench.metrics.coverage`. RunError for 5 or fewer references, or no sample.
    """

    label = "Density"
    fewest = NEIGHBOURS + 1
    better = "max"
    digits = 3
    reference = "Naeem et al., Reliable Fidelity and Diversity Metrics, ICML 2020, arXiv 2002.09797"

    def measure(self, samples: Samples) -> float:
        return samples.shared(of_samples, self.context.device)[0]


def of_samples(samples: Samples, device: torch.device) -> tuple[float, float]:
    """Compute density and coverage of ``samples``; see :func:`density_and_coverage`."""
    return density_and_coverage(samples.features, samples.references, device)


def density_and_coverage(generated: Tensor, references: Tensor, device: torch.device) -> tuple[float, float]:
    """Compute density and coverage of features (N, D) among references (M, D).

    On ``device``, in pieces. Raises RunError for too few references to have neighbours, or no sample.
    """
    if len(references) <= NEIGHBOURS or not len(generated):
        raise RunError(
            f"density and coverage need more than {NEIGHBOURS} references and at least one sample, "
            f"not {len(references)} and {len(generated)}"
        )
    centres = references.to(device, torch.float64)
    radii = kth_distance(centres, centres.split(TOGETHER), NEIGHBOURS + 1)  # (M,); the first is the reference itself
    covered = torch.zeros(len(centres), dtype=torch.bool, device=device)
    pairs = 0  # of a ball and a sample in it
    for piece in generated.split(TOGETHER):
        inside = distances(centres, piece) < radii[:, None]  # (M, P)
        pairs += int(inside.sum())
        covered |= inside.any(1)
    return pairs / (NEIGHBOURS * len(generated)), float(covered.double().mean())
