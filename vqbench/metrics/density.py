"""Density of generated images among the references."""

from __future__ import annotations

import torch

from vqbench.errors import RunError
from vqbench.functional.neighbours import distances, kth_distance
from vqbench.metric import TOGETHER, SampleMetric, Samples

NEIGHBOURS = 5  # the paper's k


class Density(SampleMetric):
    """In how many references' neighbourhoods a sample lies on average, divided by the number of neighbours, 5.

    The neighbourhood of a reference is the ball around it that reaches to its fifth nearest other reference. A sample
    counts once for every ball that holds it, so a reference that lies far out adds little, where precision would take
    all in its wide ball for good. Not bounded by 1; samples from the references' own distribution come to 1.

    In Inception's features (the paper: VGG's), in float64. A sample must be nearer than the radius, as in the package
    of the paper's authors, prdc: one at exactly that distance is outside, and a ball of radius 0, of a reference that
    is there more than five times, holds nothing. How varied samples are, :mod:`vqbench.metrics.coverage` says.
    """

    label = "Density"
    fewest = NEIGHBOURS + 1
    better = "max"
    digits = 3
    reference = "Naeem et al., Reliable Fidelity and Diversity Metrics, ICML 2020, arXiv 2002.09797"

    def measure(self, samples: Samples) -> float:
        return samples.shared(density_and_coverage, self.context.device)[0]


def density_and_coverage(samples: Samples, device: torch.device) -> tuple[float, float]:
    """Both numbers, computed on ``device``. Raises RunError for too few references to have neighbours, or no sample.

    All references against a piece at a time, of the references for the radii, then of the samples.
    """
    references, made = samples.references, samples.features  # (M, 2048), (N, 2048)
    if len(references) <= NEIGHBOURS or not len(made):
        raise RunError(
            f"density and coverage need more than {NEIGHBOURS} references and at least one sample, "
            f"not {len(references)} and {len(made)}"
        )
    centres = references.to(device, torch.float64)
    radii = kth_distance(centres, centres.split(TOGETHER), NEIGHBOURS + 1)  # (M,); the first is the reference itself
    covered = torch.zeros(len(centres), dtype=torch.bool, device=device)
    holding = 0  # pairs of a ball and a sample in it
    for piece in made.split(TOGETHER):
        inside = distances(centres, piece) < radii[:, None]  # (M, P)
        holding += int(inside.sum())
        covered |= inside.any(1)
    return holding / (NEIGHBOURS * len(made)), float(covered.double().mean())
