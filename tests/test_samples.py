"""What is made of a generator's samples: how they are kept, and what they are held against, piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vqbench import neighbours, protocol
from vqbench.errors import RunError
from vqbench.metric import Context, SampleMetric, Samples
from vqbench.metrics import density
from vqbench.metrics.coverage import Coverage
from vqbench.metrics.density import Density
from vqbench.metrics.precision import Precision
from vqbench.metrics.recall import Recall

CPU = torch.device("cpu")
NOTHING = torch.zeros(0, 1, 2, 2, dtype=torch.uint8)


def metric(cls: Callable[[Context], Any]) -> SampleMetric:
    return cls(Context(protocol.MEASURE["clean"], "0" * 64, None, None, CPU))


def of_features(made: Tensor, real: Tensor) -> Samples:
    return Samples(NOTHING, NOTHING, lambda: made, lambda: real)


# Density and coverage -------------------------------------------------------------------------------------------------


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
    """Both are what their formulas give from whole matrices, also of more pictures than a piece has."""
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
    """Density and coverage do not depend on how many pictures a piece has, and no larger one is compared at once."""
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
        values.append(density.density_and_coverage(of_features(made, real), CPU))
        assert max(compared) == min(size, 61)
        compared.clear()
    assert values[0] == values[1]


@pytest.mark.parametrize(("made", "real"), [(10, 5), (0, 10)])
def test_too_few_pictures_for_density(made: int, real: int) -> None:
    """As many references as neighbours, or no sample at all, is an error that says how many there are."""
    samples = of_features(torch.zeros(made, 4), torch.zeros(real, 4))
    for cls in (Density, Coverage):
        with pytest.raises(RunError, match=f"more than 5 references and at least one sample, not {real} and {made}"):
            metric(cls).measure(samples)


@pytest.mark.parametrize(
    ("module", "function", "pair"),
    [
        ("density", "density_and_coverage", (Density, Coverage)),
        ("precision", "precision_and_recall", (Precision, Recall)),
    ],
)
def test_a_pair_is_computed_once(
    module: str, function: str, pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two metrics of one computation share it for the same samples, and not for others."""
    calls: list[Samples] = []

    def counted(samples: Samples, *_: object) -> tuple[float, float]:
        calls.append(samples)
        return 1.0, 2.0

    for name in ("vqbench.metrics." + module, pair[1].__module__):
        monkeypatch.setattr(f"{name}.{function}", counted)
    one, two = of_features(NOTHING, NOTHING), of_features(NOTHING, NOTHING)
    assert [metric(cls).measure(one) for cls in pair] == [1.0, 2.0]
    assert len(calls) == 1
    assert metric(pair[0]).measure(two) == 1.0
    assert len(calls) == 2


def test_neighbours_by_pieces() -> None:
    """The nearest point, the first of equally near ones, and the k-th distance are those of all points at once."""
    points = torch.randint(0, 3, (90, 2), generator=torch.Generator().manual_seed(0)).float()
    some = points[40:60] + torch.tensor([0.0, 0.5])
    whole = neighbours.distances(some, points)
    for size in (90, 8):
        least, places = neighbours.nearest(some, points.split(size))
        assert torch.equal(least, whole.min(1).values)
        assert places.tolist() == [row.tolist().index(row.min()) for row in whole]
        for k in (1, 2, 11):
            assert torch.equal(neighbours.kth_distance(some, points.split(size), k), whole.sort(1).values[:, k - 1])
