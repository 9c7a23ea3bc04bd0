"""Sample anchors: one feature of the global batch for every code."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import (
    all_gather,
    all_sum,
    shard,
    shared_integers,
    shared_permutation,
    shared_uniform,
)
from vqbench.functional.codes import Distance, block_of, inner_product_form
from vqbench.functional.shapes import require_choice

Anchor = Literal["random", "unique", "probability", "closest", "farthest"]

CANDIDATES = 144  # rejection rounds: the chance that a code accepts none is at most (1 − e⁻²)^144 < 1e-9
GROUP = 256  # consecutive features of which one is drawn after their group was, under l2


@torch.no_grad()
def anchors(rule: Anchor, features: Tensor, codebook: Tensor, distance: Distance) -> Tensor:
    """Draw one feature of the global batch per code, (K, D), by ``rule``.

    These are the anchors of CVQ-VAE's relocation (arXiv 2307.15139, table B.4). All ranks get the same.

    Args:
        rule: ``random``: uniformly, with replacement. ``unique``: without replacement, until all N features were used
            once. ``closest``: the most similar feature, the first among equals. ``farthest``: the least similar one,
            likewise; no rule of the paper, but what some ports of it do. ``probability``: feature i with probability
            softmax_i(s_ik).
        features: (n, D), those of this rank.
        codebook: (K, D).
        distance: the similarity s_ik: minus the squared distance (``l2``), or the cosine.

    Raises:
        UsageError: ``rule`` is none of these.
    """
    require_choice("anchor", rule, Anchor)
    _, total = shard(len(features))
    num_codes, device = len(codebook), features.device
    if rule == "random":
        index = shared_integers(total, num_codes, device=device)
    elif rule == "unique":
        index = shared_permutation(total, device).repeat(-(-num_codes // total))[:num_codes]
    elif rule == "closest":
        index = closest(*inner_product_form(features, codebook, distance))
    elif rule == "farthest":
        a, b = inner_product_form(features, codebook, distance)
        index = closest(-a, b)
    elif distance == "cosine":
        index = draw_by_rejection(*inner_product_form(features, codebook, distance))
    else:
        index = draw_by_inversion(*inner_product_form(features, codebook, distance))
    return take(features, index)


def local_index(index: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Convert global feature indices to places among this rank's ``n`` features.

    Also return a mask of the features that this rank has.

    Places of features on other ranks are clamped to [0, n).
    """
    start, _ = shard(n)
    local = index - start
    return local.clamp(0, n - 1), (local >= 0) & (local < n)


def take(features: Tensor, index: Tensor) -> Tensor:
    """Return the features (K, D) at the global indices (K,), from all ranks."""
    local, here = local_index(index, len(features))
    return all_sum(torch.where(here[:, None], features[local], 0))


def similarity_at(a: Tensor, b: Tensor, index: Tensor) -> Tensor:
    """Return the similarities (k, n) of code k to the features ``index`` (k, n).

    An index beyond the global batch has similarity −inf.
    """
    local, here = local_index(index, len(a))
    similarity = torch.einsum("knd,kd->kn", a[local], b)
    _, total = shard(len(a))
    return all_sum(torch.where(here, similarity, 0)).masked_fill(index >= total, -torch.inf)


def closest(a: Tensor, b: Tensor, block: int | None = None) -> Tensor:
    """Return the global index (K,) of the feature most similar to each code.

    The lowest index among equals. ``a`` (N, D') and ``b`` (K, D') are from ``inner_product_form``.
    """
    start, _ = shard(len(a))
    best = a.new_full((len(b),), -torch.inf)
    index = torch.zeros(len(b), dtype=torch.int64, device=a.device)
    size = max(1, (block or block_of(a.device)) // len(b))
    similarities = a.new_empty(len(b) * min(size, len(a)))  # reused by all parts, as in ``assign``
    for part in a.split(size):
        s = torch.mm(b, part.T, out=similarities[: len(b) * len(part)].view(len(b), -1))
        value, row = s.max(1)  # (K,)
        better = value > best
        best, index = torch.where(better, value, best), torch.where(better, row + start, index)
        start += len(part)
    rank = all_gather(best[None]).argmax(0, keepdim=True)  # (1, K)
    return all_gather(index[None]).gather(0, rank)[0]


def draw_by_rejection(a: Tensor, b: Tensor, block: int | None = None) -> Tensor:
    """Draw a global index (K,) with probability softmax_i(s_ik), s in [−1, 1].

    Candidates are drawn uniformly and accepted with probability exp(s_ik − 1), which is at least e⁻²; the first
    accepted one counts. A code that accepts none of its candidates (a chance below 1e-9) takes the first of them.
    """
    _, total = shard(len(a))
    drawn = []
    for part in b.split(max(1, (block or block_of(a.device)) // (CANDIDATES * a.shape[1]))):
        index = shared_integers(total, len(part), CANDIDATES, device=a.device)  # (k, C)
        accepted = shared_uniform(len(part), CANDIDATES, device=a.device) < (similarity_at(a, part, index) - 1).exp()
        first = accepted.int().argmax(1, keepdim=True)  # the first of the largest, or 0
        drawn.append(index.gather(1, first)[:, 0])
    return torch.cat(drawn)


def draw_by_inversion(a: Tensor, b: Tensor, block: int | None = None) -> Tensor:
    """Draw a global index (K,) with probability softmax_i(s_ik), for any s.

    The inverse of the cumulative distribution is applied twice: first a group of consecutive features is drawn by the
    group's mass, then a feature of the group. Masses are normalised by their log-sum-exp, so that no underflow leaves
    a code without a feature.
    """
    block = block or block_of(a.device)
    group = invert(group_masses(a, b, block).T, shared_uniform(len(b), device=a.device))  # (K,)
    within = torch.arange(GROUP, device=a.device)
    size = max(1, block // (GROUP * a.shape[1]))
    drawn = []
    for codes, chosen in zip(b.split(size), group.split(size), strict=True):
        index = chosen[:, None] * GROUP + within  # (k, GROUP)
        place = invert(similarity_at(a, codes, index), shared_uniform(len(codes), device=a.device))
        drawn.append(index.gather(1, place[:, None])[:, 0])
    return torch.cat(drawn)


def group_masses(a: Tensor, b: Tensor, block: int) -> Tensor:
    """Return ln Σ exp(s_ik) over each group of features, (groups, K).

    Groups are GROUP consecutive features of the global batch.
    """
    start, total = shard(len(a))
    masses = a.new_full((-(-total // GROUP), len(b)), -torch.inf)
    size = max(1, block // (len(b) * GROUP)) * GROUP
    for left in range(start - start % GROUP, start + len(a), size):
        first, last = max(left, start), min(left + size, start + len(a))
        s = a[first - start : last - start] @ b.T
        s = F.pad(s, (0, 0, first - left, (left - last) % GROUP), value=-torch.inf)  # up to whole groups
        masses[left // GROUP : left // GROUP + len(s) // GROUP] = s.view(-1, GROUP, len(b)).logsumexp(1)
    return all_gather(masses[None]).logsumexp(0)  # a group may lie on two ranks


def invert(logits: Tensor, uniform: Tensor) -> Tensor:
    """Invert the cumulative softmax of ``logits`` (k, n) at ``uniform`` (k,).

    Return the first index at which it exceeds the number in [0, 1), (k,).
    """
    mass = cumulative(logits.softmax(1))
    return (mass <= uniform[:, None] * mass[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)


def cumulative(masses: Tensor) -> Tensor:
    """Return cumulative sums over the last dimension, deterministic on a GPU too.

    Torch has no deterministic cumsum on a GPU; there each partial sum is added to the one ``distance`` places after it,
    with the distance doubled every time.
    """
    if masses.is_cuda and torch.are_deterministic_algorithms_enabled():
        return _doubled(masses)
    return masses.cumsum(-1)


def _doubled(masses: Tensor) -> Tensor:
    distance = 1
    while distance < masses.shape[-1]:
        masses = masses + F.pad(masses[..., :-distance], (distance, 0))
        distance *= 2
    return masses
