"""Nearest neighbours in pieces are those of all points at once."""

from __future__ import annotations

import torch

from vqbench.functional import neighbours


def test_equal_points_are_at_no_distance() -> None:
    """Copies of wide points are at distance 0 exactly, and a distance is the same from either end."""
    wide = torch.randn(40, 2048, generator=torch.Generator().manual_seed(0)) + 5
    assert neighbours.distances(wide, wide.clone()).diagonal().tolist() == [0.0] * 40
    assert torch.equal(neighbours.distances(wide[:7], wide), neighbours.distances(wide, wide[:7]).T)


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


def test_neighbours_in_views_and_but_for_one() -> None:
    """Of points in two views the nearer one counts, and a point that is left out is no neighbour, in whatever piece."""
    draw = torch.Generator().manual_seed(0)
    points = torch.randint(0, 20, (90, 2), generator=draw).float()
    views = torch.randint(0, 20, (2, 20, 2), generator=draw).float()
    whole = torch.minimum(*(neighbours.distances(view, points) for view in views))
    but = whole.argmin(1)
    without = whole.clone()
    without[range(20), but] = torch.inf
    assert not torch.equal(whole.min(1).values, without.min(1).values)
    for size in (90, 8):
        for left_out, expected in ((None, whole), (but, without)):
            least, places = neighbours.nearest(views, points.split(size), left_out)
            assert torch.equal(least, expected.min(1).values)
            assert places.tolist() == [row.tolist().index(row.min()) for row in expected]
