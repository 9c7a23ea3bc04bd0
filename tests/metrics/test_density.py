"""Density and coverage by their formulas, and in pieces."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.measured_samples import (
    metric,
    of_features,
)
from vqbench.errors import RunError
from vqbench.functional import neighbours
from vqbench.metrics import density
from vqbench.metrics.coverage import Coverage
from vqbench.metrics.density import Density

CPU = torch.device("cpu")


def by_hand(made: Tensor, real: Tensor, k: int = 5) -> tuple[float, float]:
    """Density and coverage from whole matrices of distances, in numpy."""
    y, x = made.double().numpy(), real.double().numpy()
    among = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))
    np.fill_diagonal(among, np.inf)
    radii = np.sort(among, 1)[:, k - 1]
    inside = np.sqrt(((x[:, None] - y[None]) ** 2).sum(-1)) < radii[:, None]
    return inside.sum() / (k * len(y)), inside.any(1).mean()


@pytest.mark.parametrize(("made", "real"), [(30, 50), (240, 130), (1, 6)])
def test_density_and_coverage_by_hand(made: int, real: int) -> None:
    """Both are what their formulas give from whole matrices, also of more images than a piece has."""
    torch.manual_seed(0)
    samples = of_features(torch.randn(made, 3) * 0.7, torch.randn(real, 3) * 1.5)
    expected = by_hand(samples.features, samples.references)
    assert metric(Density).measure(samples) == pytest.approx(expected[0], rel=1e-12)
    assert metric(Coverage).measure(samples) == pytest.approx(expected[1], rel=1e-12)


def test_density_and_coverage_of_the_references_themselves() -> None:
    """Of identical sets every reference is covered; its ball holds itself and the four that are strictly nearer."""
    torch.manual_seed(0)
    real = torch.randn(150, 8)
    samples = of_features(real.clone(), real)
    assert metric(Coverage).measure(samples) == 1
    assert metric(Density).measure(samples) == 1


def test_density_and_coverage_of_sets_far_apart() -> None:
    """Samples in no ball have density and coverage 0; all at one reference have a high density and cover little."""
    torch.manual_seed(0)
    real = torch.randn(200, 2)
    far, same = of_features(real + 100, real), of_features(real[:1].expand(60, 2) + 1e-4, real)
    assert (metric(Density).measure(far), metric(Coverage).measure(far)) == (0, 0)
    assert metric(Density).measure(same) == pytest.approx(by_hand(same.features, real)[0])
    assert metric(Coverage).measure(same) < 0.1


def test_what_lies_on_a_ball_is_outside() -> None:
    """A sample at exactly the fifth neighbour's distance does not count, and a reference's six copies have no ball."""
    line = torch.arange(7.0)[:, None]  # the ball of the first has radius 5, and of those in the middle less
    on_it = of_features(torch.tensor([[-5.0]]), line)
    assert (metric(Density).measure(on_it), metric(Coverage).measure(on_it)) == (0, 0)
    within = of_features(torch.tensor([[-4.5]]), line)
    assert metric(Density).measure(within) == pytest.approx(1 / 5)
    copies = of_features(torch.full((3, 2), 0.1), torch.full((6, 2), 0.1))
    assert (metric(Density).measure(copies), metric(Coverage).measure(copies)) == (0, 0)


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Density and coverage do not depend on how many images a piece has, and no larger one is compared at once."""
    torch.manual_seed(0)
    made, real = torch.randn(45, 16), torch.randn(61, 16)
    compared: list[int] = []
    distances = neighbours.distances

    def watched(some: Tensor, others: Tensor) -> Tensor:
        compared.append(len(others))
        return distances(some, others)

    values = []
    for size in (1000, 7):
        monkeypatch.setattr(density, "TOGETHER", size)
        for module in (neighbours, density):
            monkeypatch.setattr(module, "distances", watched)
        values.append(density.density_and_coverage(made, real, CPU))
        assert max(compared) == min(size, 61)
        compared.clear()
    assert values[0] == values[1]


@pytest.mark.parametrize(("made", "real"), [(10, 5), (0, 10)])
def test_too_few_images_for_density(made: int, real: int) -> None:
    """As many references as neighbours, or no sample at all, is an error with the counts."""
    samples = of_features(torch.zeros(made, 4), torch.zeros(real, 4))
    for cls in (Density, Coverage):
        with pytest.raises(RunError, match=f"more than 5 references and at least one sample, not {real} and {made}"):
            metric(cls).measure(samples)
