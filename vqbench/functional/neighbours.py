"""Find nearest neighbours among points that arrive in pieces.

Distances are Euclidean and computed from differences, not from products: equal points are exactly 0 apart, and the
distance of two points does not depend on the rest of their pieces. At most N × (a piece) distances are in memory.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def distances(points: Tensor, others: Tensor) -> Tensor:
    """Return the distances (…, N, P) of ``points`` (…, N, D) to ``others`` (P, D).

    In the type and on the device of ``points``.
    """
    return torch.cdist(points, others.to(points), compute_mode="donot_use_mm_for_euclid_dist")


def nearest(points: Tensor, pieces: Iterable[Tensor], excluded: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the distance to, and the position of, each point's nearest neighbour.

    Both are (N,).

    Args:
        points: (N, D); or (V, N, D), N points in V views, such as an image and its mirror image, of which the nearest
            counts.
        pieces: points (P, D) each. Positions count through all pieces; of equally near points the first is taken.
        excluded: (N,), for each of ``points`` the position of one that does not count.
    """
    views = points if points.dim() == 3 else points[None]
    count = views.shape[1]
    least = torch.full((count,), torch.inf).to(points)
    places = torch.zeros(count, dtype=torch.int64, device=points.device)
    start = 0
    for piece in pieces:
        apart = distances(views, piece).amin(0)  # (N, P)
        if excluded is not None:
            here = ((excluded >= start) & (excluded < start + len(piece))).nonzero()[:, 0]
            apart[here, excluded[here] - start] = torch.inf
        closest = apart.min(1)
        nearer = closest.values < least
        least = torch.where(nearer, closest.values, least)
        places = torch.where(nearer, closest.indices + start, places)
        start += len(piece)
    return least, places


def kth_distance(points: Tensor, pieces: Iterable[Tensor], k: int) -> Tensor:
    """Return the ``k``-th smallest distance (N,) from each point to the pieces.

    ``points`` are (N, D), ``pieces`` (P, D) each.

    A point that is itself in the pieces is its own first neighbour, at distance 0. Infinite for fewer than k points.
    """
    least = torch.full((len(points), k), torch.inf).to(points)
    for piece in pieces:
        least = torch.cat([least, distances(points, piece)], 1).topk(k, largest=False).values  # in rising order
    return least[:, -1]
