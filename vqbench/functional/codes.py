"""Similarities, assignment, and statistics of codes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import all_sum

Distance = Literal["l2", "cosine"]

BLOCK = 2**22  # entries of a similarity matrix held at once: 16 MiB in float32, small enough for a CPU's cache


def inner_product_form(features: Tensor, codebook: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Rows a (N, D') and b (K, D') whose inner products a_i·b_k are the similarities s_ik.

    cosine: s = ⟨z/‖z‖, e/‖e‖⟩ in [−1, 1]. l2: s = −‖z − e‖² = (2z, −1, −‖z‖²)·(e, ‖e‖², 1), so D' = D + 2.
    """
    if distance == "cosine":
        return F.normalize(features, dim=1), F.normalize(codebook, dim=1)
    one, one_code = torch.ones_like(features[:, :1]), torch.ones_like(codebook[:, :1])
    a = torch.cat([2 * features, -one, -features.square().sum(1, keepdim=True)], 1)
    return a, torch.cat([codebook, codebook.square().sum(1, keepdim=True), one_code], 1)


def squared_distances(features: Tensor, codebook: Tensor) -> Tensor:
    """‖z_i − e_k‖² as one (N, K) matrix, never negative: for methods that weigh all codes of every feature."""
    a, b = inner_product_form(features, codebook, "l2")
    return (-a @ b.T).clamp(min=0)


@torch.no_grad()
def assign(features: Tensor, codebook: Tensor, distance: Distance = "l2", block: int = BLOCK) -> Tensor:
    """The code (N,) of the largest similarity of every feature; the lowest index among equals.

    ``block`` is the number of similarities held at once. Terms that are the same for all codes (‖z‖) are left out.
    """
    if distance == "cosine":
        codebook = F.normalize(codebook, dim=1)
        bias = torch.zeros_like(codebook[:, 0])
    else:
        bias = codebook.square().sum(1) / -2  # argmin ‖z − e‖² = argmax ⟨z, e⟩ − ‖e‖²/2
    size = max(1, block // len(codebook))
    similarities = features.new_empty(min(size, len(features)), len(codebook))  # one for all parts, see below
    codes = torch.empty(len(features), dtype=torch.int64, device=features.device)
    for part, chosen in zip(features.split(size), codes.split(size), strict=True):
        chosen.copy_(torch.addmm(bias, part, codebook.T, out=similarities[: len(part)]).argmax(1))
    return codes  # a block anew for each part would be put behind the small results of the one before it: without end


def code_counts(codes: Tensor, num_codes: int) -> Tensor:
    """How often each code occurs in ``codes`` over all ranks, (num_codes,) int64: exact in any order of addition."""
    codes = codes.flatten()
    counts = torch.zeros(num_codes, dtype=torch.int64, device=codes.device)
    return all_sum(counts.scatter_add_(0, codes, torch.ones_like(codes)))  # bincount would wait for the device


def code_sums(features: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """The sum (num_codes, D) of the features of each code over all ranks."""
    sums = features.new_zeros(num_codes, features.shape[1])
    return all_sum(sums.index_add_(0, codes.flatten(), features))


def shares(counts: Tensor) -> Tensor:
    """Counts (K,) as shares of their total."""
    return counts / counts.sum()


def perplexity(share: Tensor) -> Tensor:
    """exp(−Σ q ln(q + 1e-10)) in [1, K]: how many codes, equally used, would be as uncertain as the shares (K,)."""
    return torch.exp(-(share * torch.log(share + 1e-10)).sum())


def usage_logs(counts: Tensor) -> dict[str, Tensor]:
    """Perplexity of the batch and the share of codes that it used, to plot."""
    return {"perplexity": perplexity(shares(counts)), "usage": (counts > 0).float().mean()}
