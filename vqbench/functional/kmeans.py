"""k-means on the global batch."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.functional.codes import assign, code_counts, code_sums


@torch.no_grad()
def lloyd(features: Tensor, centres: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """``iterations`` of Lloyd's algorithm from ``centres`` (K, D): the centres, and their last counts (K,) int64.

    A centre without a feature stays where it is. Features (N, D) of all ranks count; with no iteration, counts are 1.
    """
    counts = torch.ones(len(centres), dtype=torch.int64, device=centres.device)
    for _ in range(iterations):
        codes = assign(features, centres)
        counts, sums = code_counts(codes, len(centres)), code_sums(features, codes, len(centres))
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres, counts
