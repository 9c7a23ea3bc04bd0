"""Similarities, assignment, and statistics of codes."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import all_sum
from vqbench.functional.shapes import require, require_choice

Distance = Literal["l2", "cosine"]
Init = Literal["uniform", "sonnet", "maskgit", "normal"]

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


def signs(z: Tensor) -> Tensor:
    """+1 where ``z`` is positive, −1 elsewhere: never 0."""
    return torch.where(z > 0, 1.0, -1.0).to(z.dtype)


def place_values(num_bits: int, device: torch.device) -> Tensor:
    """2^(L−1) … 2, 1: (num_bits,) int64, the most significant bit first."""
    return 2 ** torch.arange(num_bits - 1, -1, -1, device=device)


def pack_bits(z: Tensor) -> Tensor:
    """The codes (N,) int64 in [0, 2^L) whose bits are 1 where ``z`` (N, L) is positive."""
    return ((z > 0) * place_values(z.shape[1], z.device)).sum(1)


def unpack_bits(codes: Tensor, num_bits: int) -> Tensor:
    """The signs (N, L), ±1, of ``codes`` (N,): the inverse of ``pack_bits``."""
    bits = codes[:, None] // place_values(num_bits, codes.device) % 2
    return (2 * bits - 1).to(torch.get_default_dtype())


def initial_codebook(num_codes: int, dim: int, init: Init) -> Tensor:
    """A codebook (num_codes, dim), by ``init``.

    ``uniform``: U(±1/K), as VQGAN; ``sonnet``: U(±√(3/D)); ``maskgit``: U(±√(3/K)); ``normal``: N(0, 1).
    """
    require(num_codes >= 1 and dim >= 1, f"num_codes and dim must be at least 1, not {num_codes} and {dim}")
    require_choice("init", init, Init)
    codebook = torch.empty(num_codes, dim)
    if init == "normal":
        return codebook.normal_()
    bound = {"uniform": 1 / num_codes, "sonnet": (3 / dim) ** 0.5, "maskgit": (3 / num_codes) ** 0.5}[init]
    return codebook.uniform_(-bound, bound)
