"""The mathematics that quantizers share: assignment, statistics, anchors, the contrastive term, random draws.

Everything works on rows: a feature map (B, D, H, W) is N = B·H·W features (N, D), a codebook is (K, D). Nothing is
sorted, nothing waits for the device, so that a step can be compiled, and only ``squared_distances`` and ``gumbel``
hold an (N, K) matrix as a whole.

With several devices, every rank holds an equally large, consecutive part of the global batch. Counts and sums are added
up over the ranks, random draws are the same everywhere or keyed by the feature's place in the global batch, and anchors
are drawn from the global batch, so that codebooks stay equal on all ranks.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from vqbench.errors import UsageError, nearest
from vqbench.quantizer import QuantizerOutput

Distance = Literal["l2", "cosine"]
Anchor = Literal["random", "unique", "probability", "closest"]
Init = Literal["uniform", "sonnet", "normal"]

BLOCK = 2**22  # entries of a similarity matrix held at once: 16 MiB in float32, small enough for a CPU's cache
CANDIDATES = 144  # rejection rounds: the chance that a code accepts none is at most (1 − e⁻²)^144 < 1e-9
GROUP = 256  # features whose mass is added up first when a feature is drawn under l2

Forward = TypeVar("Forward", bound=Callable[[Any, Tensor], QuantizerOutput])


# --- Arguments and shapes -------------------------------------------------------------------------------------------


def require(condition: bool, sentence: str) -> None:
    """Raise UsageError with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise UsageError(sentence)


def require_choice(argument: str, value: object, choices: Any) -> None:
    """Raise UsageError unless ``value`` is one of the values of the Literal ``choices``."""
    known = get_args(choices)
    if value not in known:
        raise UsageError(f"unknown {argument} {value!r}; {nearest(value, known)}")


def full_precision(forward: Forward) -> Forward:
    """Decorate a quantizer's forward: no autocast inside, at least float32, ``z_q`` back in the type of ``z``.

    Distances of nearby codes cancel in half precision, and running statistics lose their small increments.
    """

    @functools.wraps(forward)
    def wrapped(self: Any, z: Tensor) -> QuantizerOutput:
        with torch.autocast(z.device.type, enabled=False):
            out = forward(self, z if z.dtype == torch.float64 else z.float())
        out.z_q = out.z_q.to(z.dtype)
        return out

    return wrapped  # type: ignore[return-value]


def flatten(z: Tensor, dim: int) -> Tensor:
    """The features (B·H·W, dim) of a map (B, dim, H, W), images first, then rows, then columns."""
    require(
        z.ndim == 4 and z.shape[1] == dim,
        f"a quantizer of dim {dim} needs features (B, {dim}, H, W), not {tuple(z.shape)}; give both the same dim",
    )
    return z.permute(0, 2, 3, 1).reshape(-1, dim)


def unflatten(rows: Tensor, z: Tensor) -> Tensor:
    """The map (B, D, H, W) of ``rows`` (B·H·W, D), with the B, H, W of the map ``z``; the inverse of ``flatten``."""
    batch, _, height, width = z.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2).contiguous()


def code_map(codes: Tensor, z: Tensor) -> Tensor:
    """Codes (B·H·W,) as (B, H, W, 1), with the B, H, W of the map ``z``."""
    return codes.view(z.shape[0], *z.shape[2:], 1)


def look_up(codes: Tensor, codebook: Tensor) -> Tensor:
    """The map (B, D, H, W) of the code vectors named by ``codes`` (B, H, W, 1)."""
    require(codes.ndim == 4 and codes.shape[-1] == 1, f"codes must be (B, H, W, 1), not {tuple(codes.shape)}")
    return F.embedding(codes[..., 0], codebook).permute(0, 3, 1, 2).contiguous()


def initial_codebook(num_codes: int, dim: int, init: Init) -> Tensor:
    """A codebook (num_codes, dim): ``uniform`` U(±1/K) as VQGAN, ``sonnet`` U(±√(3/D)), or ``normal`` N(0, 1)."""
    require(num_codes >= 1 and dim >= 1, f"num_codes and dim must be at least 1, not {num_codes} and {dim}")
    require_choice("init", init, Init)
    codebook = torch.empty(num_codes, dim)
    if init == "normal":
        return codebook.normal_()
    bound = 1 / num_codes if init == "uniform" else (3 / dim) ** 0.5
    return codebook.uniform_(-bound, bound)


# --- Ranks ----------------------------------------------------------------------------------------------------------


def world_size() -> int:
    """The number of ranks that share a step; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def shard(n: int) -> tuple[int, int]:
    """Where this rank's ``n`` features begin in the global batch, and how many that has."""
    return (0, n) if world_size() == 1 else (dist.get_rank() * n, world_size() * n)


def all_sum(values: Tensor) -> Tensor:
    """The sum of ``values`` over the ranks, without a gradient."""
    if world_size() == 1:
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def all_mean(value: Tensor) -> Tensor:
    """The mean of ``value`` over the ranks, with a gradient: for means inside a logarithm or an entropy."""
    if world_size() == 1:
        return value
    from torch.distributed.nn.functional import all_reduce

    return all_reduce(value) / world_size()


def all_gather(values: Tensor) -> Tensor:
    """The ``values`` (n, …) of all ranks, (world size · n, …), in the order of the ranks, without a gradient."""
    if world_size() == 1:
        return values
    gathered = values.new_empty((world_size() * values.shape[0], *values.shape[1:]))
    dist.all_gather_into_tensor(gathered, values.contiguous())
    return gathered


# --- Random draws ---------------------------------------------------------------------------------------------------


def shared_uniform(*shape: int, device: torch.device) -> Tensor:
    """Uniform numbers in [0, 1), the same on all ranks, whose generators the recipe seeds alike for every step."""
    return torch.rand(shape, device=device)


def shared_normal(*shape: int, device: torch.device) -> Tensor:
    """Standard normal numbers, the same on all ranks."""
    return torch.randn(shape, device=device)


def shared_integers(high: int, *shape: int, device: torch.device) -> Tensor:
    """Uniform integers in [0, high), the same on all ranks."""
    return torch.randint(high, shape, device=device)


def shared_permutation(n: int, device: torch.device) -> Tensor:
    """A random order of 0 … n−1, the same on all ranks."""
    return torch.randperm(n, device=device)


def feature_uniform(n: int, *shape: int, device: torch.device) -> Tensor:
    """Uniform numbers (n, *shape) for this rank's features, keyed by their place in the global batch.

    Drawn for the whole global batch, of which the own part is kept: the same numbers however many ranks share them.
    """
    start, total = shard(n)
    return torch.rand((total, *shape), device=device)[start : start + n]


def gumbel(n: int, num_codes: int, device: torch.device) -> Tensor:
    """Gumbel noise (n, num_codes), −ln(−ln(U + 1e-10) + 1e-10), keyed like ``feature_uniform``."""
    return -torch.log(-torch.log(feature_uniform(n, num_codes, device=device) + 1e-10) + 1e-10)


# --- Assignment and statistics --------------------------------------------------------------------------------------


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
    return (-(a @ b.T)).clamp(min=0)


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
    parts = features.split(max(1, block // len(codebook)))
    return torch.cat([torch.addmm(bias, part, codebook.T).argmax(1) for part in parts])


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


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """``z_q`` exactly, with the gradient of ``z`` (Bengio et al., 2013, arXiv 1308.3432)."""
    return z_q.detach() + (z - z.detach())


# --- Anchors: one feature of the global batch for every code --------------------------------------------------------


@torch.no_grad()
def anchors(rule: Anchor, features: Tensor, codebook: Tensor, distance: Distance) -> Tensor:
    """One feature (K, D) per code, from the global batch, for CVQ's relocation (arXiv 2307.15139, table B.4).

    ``random``: uniformly, with replacement. ``unique``: without, until all N features were used once.
    ``closest``: the most similar feature. ``probability``: feature i with probability softmax_i(s_ik).
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
    elif distance == "cosine":
        index = draw_by_rejection(*inner_product_form(features, codebook, distance))
    else:
        index = draw_by_inversion(*inner_product_form(features, codebook, distance))
    return take(features, index)


def own(index: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Of global feature indices: the place among this rank's ``n`` features (clamped), and whether they are there."""
    start, _ = shard(n)
    local = index - start
    return local.clamp(0, n - 1), (local >= 0) & (local < n)


def take(features: Tensor, index: Tensor) -> Tensor:
    """The features (K, D) at the global indices (K,); each rank contributes the rows that it holds."""
    local, held = own(index, len(features))
    return all_sum(torch.where(held[:, None], features[local], 0))


def similarity_at(a: Tensor, b: Tensor, index: Tensor) -> Tensor:
    """Similarity (k, n) of code k to the features at its global indices (k, n); −inf where there is no such feature."""
    local, held = own(index, len(a))
    similarity = torch.einsum("knd,kd->kn", a[local], b)
    _, total = shard(len(a))
    return all_sum(torch.where(held, similarity, 0)).masked_fill(index >= total, -torch.inf)


def closest(a: Tensor, b: Tensor, block: int = BLOCK) -> Tensor:
    """The global index (K,) of the feature most similar to each code; the lowest index among equals."""
    start, _ = shard(len(a))
    best = a.new_full((len(b),), -torch.inf)
    index = torch.zeros(len(b), dtype=torch.int64, device=a.device)
    for part in a.split(max(1, block // len(b))):
        value, row = (b @ part.T).max(1)  # (K,)
        better = value > best
        best, index = torch.where(better, value, best), torch.where(better, row + start, index)
        start += len(part)
    rank = all_gather(best[None]).argmax(0, keepdim=True)  # (1, K)
    return all_gather(index[None]).gather(0, rank)[0]


def draw_by_rejection(a: Tensor, b: Tensor, block: int = BLOCK) -> Tensor:
    """A global index (K,) drawn with probability softmax_i(s_ik), for similarities of at most 1.

    Candidates are drawn uniformly, and accepted with probability exp(s_ik − 1), which is at least e⁻²; the first
    accepted one counts. A code that accepts none of its candidates (a chance below 1e-9) takes the first of them.
    """
    _, total = shard(len(a))
    drawn = []
    for part in b.split(max(1, block // (CANDIDATES * a.shape[1]))):
        index = shared_integers(total, len(part), CANDIDATES, device=a.device)  # (k, C)
        accepted = shared_uniform(len(part), CANDIDATES, device=a.device) < (similarity_at(a, part, index) - 1).exp()
        first = accepted.int().argmax(1, keepdim=True)  # the first of the largest, or 0
        drawn.append(index.gather(1, first)[:, 0])
    return torch.cat(drawn)


def draw_by_inversion(a: Tensor, b: Tensor, block: int = BLOCK) -> Tensor:
    """A global index (K,) drawn with probability softmax_i(s_ik), whatever the range of the similarities.

    Twice the inverse of a cumulative distribution: first a group of neighbouring features by the group's mass, then a
    feature in it. Masses are normalised by their log-sum-exp, so that no underflow leaves a code without a feature.
    """
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
    """ln Σ exp(s_ik) over each group of GROUP consecutive features of the global batch: (groups, K)."""
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
    """The index (k,) at which the cumulative softmax of ``logits`` (k, n) passes ``uniform`` (k,) in [0, 1)."""
    mass = logits.softmax(1).cumsum(1)
    return (mass <= uniform[:, None] * mass[:, -1:]).sum(1).clamp(max=logits.shape[1] - 1)


# --- The contrastive term -------------------------------------------------------------------------------------------


def contrastive_loss(features: Tensor, codebook: Tensor, distance: Distance, temperature: float) -> Tensor:
    """CVQ's contrastive term (), over this rank's features (N, D); the gradient reaches the codebook (K, D) only.

    mean_k −ln[exp(p_k/τ) / (exp(p_k/τ) + Σ_j exp(s_jk/τ))], where p_k is the mean similarity of the ⌊N/K⌋ features
    (at least one) most similar to code k, and j runs over the ⌊N/2⌋ least similar ones. Without negatives (N = 1) the
    term is zero.
    """
    a, b = inner_product_form(features.detach(), codebook, distance)
    return _Contrast.apply(b, a, temperature)


class _Contrast(torch.autograd.Function):
    """The contrastive term by blocks of codes; the gradient is made on the way, so that only (K, D') is kept for it."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, a: Tensor, temperature: float) -> Tensor:
        parts = [contrast(part, a, len(b), temperature) for part in b.split(max(1, BLOCK // len(a)))]
        losses, gradients = zip(*parts, strict=True)
        ctx.save_for_backward(torch.cat(gradients) / len(b))
        return torch.cat(losses).mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def contrast(b: Tensor, a: Tensor, num_codes: int, temperature: float) -> tuple[Tensor, Tensor]:
    """Losses (k,) of the codes ``b`` (k, D') against the features ``a`` (N, D'), and their gradient (k, D')."""
    near, far = max(1, len(a) // num_codes), len(a) // 2
    if far == 0:
        return torch.zeros_like(b[:, 0]), torch.zeros_like(b)
    s = b @ a.T  # (k, N)
    top = s.topk(near, sorted=False)
    bottom = s.topk(far, largest=False, sorted=False)
    edge = bottom.values.amax(1, keepdim=True)
    weights = ((bottom.values - edge) / temperature).exp()  # (k, N/2), at most 1
    total = weights.sum(1, keepdim=True)
    gap = total.log() + (edge - top.values.mean(1, keepdim=True)) / temperature  # ln Σ_j exp(s_j/τ) − p/τ
    negatives = s.zero_().scatter_(1, bottom.indices, weights / total) @ a  # mean feature, softmax over the negatives
    positives = F.embedding_bag(top.indices, a, mode="mean")
    return -F.logsigmoid(-gap)[:, 0], gap.sigmoid() / temperature * (negatives - positives)
