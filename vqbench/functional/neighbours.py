"""Nearest neighbours among points that come piece by piece, by running minima.

Distances are Euclidean and computed from differences, not from products: those of equal points are exactly 0, and the
distance of two points is the same whatever else is in their pieces. No more than N by a piece of them are held.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def distances(some: Tensor, others: Tensor) -> Tensor:
    """Of each of ``some`` (..., N, D) to each of ``others`` (P, D): (..., N, P), on its device, in its type."""
    return torch.cdist(some, others.to(some), compute_mode="donot_use_mm_for_euclid_dist")


def nearest(some: Tensor, pieces: Iterable[Tensor], but: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Of each of ``some`` (N, D): the distance to the nearest point in ``pieces`` (P, D), and its position, (N,) each.

    Positions count through all pieces. Of points that are equally near, the first. ``some`` (V, N, D) are N points in V
    views, such as an image and its mirror image, of which the nearest counts. ``but`` (N,): of each of ``some``, the
    position of a point that does not count.
    """
    views = some if some.dim() == 3 else some[None]
    count = views.shape[1]
    least = torch.full((count,), torch.inf).to(some)
    places = torch.zeros(count, dtype=torch.int64, device=some.device)
    start = 0
    for piece in pieces:
        apart = distances(views, piece).amin(0)  # (N, P)
        if but is not None:
            here = ((but >= start) & (but < start + len(piece))).nonzero()[:, 0]
            apart[here, but[here] - start] = torch.inf
        found = apart.min(1)
        nearer = found.values < least
        least = torch.where(nearer, found.values, least)
        places = torch.where(nearer, found.indices + start, places)
        start += len(piece)
    return least, places


def kth_distance(some: Tensor, pieces: Iterable[Tensor], k: int) -> Tensor:
    """Of each of ``some`` (N, D): the ``k``-th smallest distance to the points in ``pieces`` (P, D), (N,).

    A point that is itself in the pieces counts as its first neighbour, at distance 0. Infinite for fewer than k points.
    """
    least = torch.full((len(some), k), torch.inf).to(some)
    for piece in pieces:
        least = torch.cat([least, distances(some, piece)], 1).topk(k, largest=False).values  # in rising order
    return least[:, -1]
