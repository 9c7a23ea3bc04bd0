"""Codebooks and codes: values, assignment, k-means, bits, losses, statistics."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import all_sum
from vqbench.functional.shapes import require, require_choice

Distance = Literal["l2", "cosine"]
Init = Literal["uniform", "sonnet", "maskgit", "normal"]

BLOCK = 2**22  # entries of a similarity matrix in memory at once: 16 MiB in float32, which fits a CPU's cache
GPU_BLOCK = 2**27  # 512 MiB: on a GPU, small blocks would be hundreds of launches


def block_of(device: torch.device) -> int:
    """Return how many entries of a similarity matrix are in memory at once."""
    return BLOCK if device.type == "cpu" else GPU_BLOCK


def inner_product_form(features: Tensor, codebook: Tensor, distance: Distance) -> tuple[Tensor, Tensor]:
    """Return rows whose inner products are the similarities of all pairs.

    Features become a (N, D') and codes b (K, D'), so that a_i·b_k = s_ik.

    cosine: s = ⟨z/‖z‖, e/‖e‖⟩ in [−1, 1]. l2: s = −‖z − e‖² = (2z, −1, −‖z‖²)·(e, ‖e‖², 1), so D' = D + 2.
    """
    if distance == "cosine":
        return F.normalize(features, dim=1), F.normalize(codebook, dim=1)
    one, one_code = torch.ones_like(features[:, :1]), torch.ones_like(codebook[:, :1])
    a = torch.cat([2 * features, -one, -features.square().sum(1, keepdim=True)], 1)
    return a, torch.cat([codebook, codebook.square().sum(1, keepdim=True), one_code], 1)


@torch.no_grad()
def assign(features: Tensor, codebook: Tensor, distance: Distance = "l2", block: int | None = None) -> Tensor:
    """Return the most similar code of every feature, (N,) int64.

    The lowest index among equals.

    Terms that are equal for all codes (‖z‖) are left out.

    Args:
        features: (N, D).
        codebook: (K, D).
        distance: ``l2``, or ``cosine``.
        block: similarities in memory at once; without it, what the device takes.
    """
    if distance == "cosine":
        codebook = F.normalize(codebook, dim=1)
        bias = torch.zeros_like(codebook[:, 0])
    else:
        bias = codebook.square().sum(1) / -2  # argmin ‖z − e‖² = argmax ⟨z, e⟩ − ‖e‖²/2
    if torch.compiler.is_exporting():  # a loop over blocks would fix the number of images
        return torch.addmm(bias, features, codebook.T).argmax(1)
    size = max(1, (block or block_of(features.device)) // len(codebook))
    similarities = features.new_empty(min(size, len(features)), len(codebook))  # reused by all parts, see below
    codes = torch.empty(len(features), dtype=torch.int64, device=features.device)
    for part, chosen in zip(features.split(size), codes.split(size), strict=True):
        chosen.copy_(torch.addmm(bias, part, codebook.T, out=similarities[: len(part)]).argmax(1))
    return codes  # a new block per part would be allocated behind the small results of the last one: the heap grows


def code_counts(codes: Tensor, num_codes: int) -> Tensor:
    """Count each code in ``codes`` over all ranks: (num_codes,) int64, exact."""
    codes = codes.flatten()
    counts = torch.zeros(num_codes, dtype=torch.int64, device=codes.device)
    return all_sum(counts.scatter_add_(0, codes, torch.ones_like(codes)))  # bincount would wait for the device


def code_sums(features: Tensor, codes: Tensor, num_codes: int) -> Tensor:
    """Sum the features of each code over all ranks: (num_codes, D).

    ``features`` are (N, D), ``codes`` any shape with N entries.
    """
    sums = features.new_zeros(num_codes, features.shape[1])
    return all_sum(sums.index_add_(0, codes.flatten(), features))


@torch.no_grad()
def lloyd(features: Tensor, centres: Tensor, iterations: int) -> tuple[Tensor, Tensor]:
    """Run Lloyd's k-means; return centres (K, D) and their features' counts (K,).

    Starts from ``centres``; counts are int64.

    The ``features`` (N, D) of all ranks count. A centre without a feature stays where it is. Without an iteration all
    counts are 1. (S. Lloyd, Least squares quantization in PCM, 1982.)
    """
    counts = torch.ones(len(centres), dtype=torch.int64, device=centres.device)
    for _ in range(iterations):
        codes = assign(features, centres)
        counts, sums = code_counts(codes, len(centres)), code_sums(features, codes, len(centres))
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres, counts


def signs(z: Tensor) -> Tensor:
    """Return +1 where ``z`` is positive and −1 elsewhere, never 0."""
    return torch.where(z > 0, 1.0, -1.0).to(z.dtype)


def place_values(num_bits: int, device: torch.device) -> Tensor:
    """Return 2^(L−1) … 2, 1: (num_bits,) int64, the most significant bit first."""
    return 2 ** torch.arange(num_bits - 1, -1, -1, device=device)


def pack_bits(z: Tensor) -> Tensor:
    """Return the codes (N,) whose bits are 1 where ``z`` (N, L) is positive.

    They are int64 in [0, 2^L), the first bit the most significant.
    """
    return ((z > 0) * place_values(z.shape[1], z.device)).sum(1)


def unpack_bits(codes: Tensor, num_bits: int) -> Tensor:
    """Return the signs (N, L), ±1, of ``codes`` (N,), inverting ``pack_bits``."""
    bits = codes[:, None] // place_values(num_bits, codes.device) % 2
    return (2 * bits - 1).to(torch.get_default_dtype())


def initial_codebook(num_codes: int, dim: int, init: Init) -> Tensor:
    """Draw a codebook (num_codes, dim).

    ``init``: ``uniform``: U(±1/K), as in VQGAN; ``sonnet``: U(±√(3/D)); ``maskgit``: U(±√(3/K)); ``normal``: N(0, 1).
    Raises UsageError for sizes below 1 and for another ``init``.
    """
    require(num_codes >= 1 and dim >= 1, f"num_codes and dim must be at least 1, not {num_codes} and {dim}")
    require_choice("init", init, Init)
    codebook = torch.empty(num_codes, dim)
    if init == "normal":
        return codebook.normal_()
    bound = {"uniform": 1 / num_codes, "sonnet": (3 / dim) ** 0.5, "maskgit": (3 / num_codes) ** 0.5}[init]
    return codebook.uniform_(-bound, bound)


# Gradients for the encoder, and the loss of most codebooks ------------------------------------------------------------


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """Return ``z_q`` exactly, with the gradient of ``z``, of any equal shapes.

    Y. Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013, arXiv 1308.3432.
    """
    return z_q.detach() + (z - z.detach())


def rotate(z: Tensor, z_q: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Return ``z_q`` exactly, with the gradient of the rotation trick for ``z``.

    C. Fifty et al., Restructuring Vector Quantization with the Rotation Trick, ICLR 2025, arXiv 2410.06424.

    z_q = λRz with λ = ‖z_q‖/‖z‖ and R = I − 2rrᵀ + 2q̂ẑᵀ, r = (ẑ + q̂)/‖ẑ + q̂‖, all of which are constants for the
    gradient: an upstream gradient g becomes λRᵀg. Both maps are (B, D, …); norms are at least ``epsilon``.
    """
    e, q = z.detach(), z_q.detach()
    e_norm, q_norm = (v.norm(dim=1, keepdim=True).clamp(min=epsilon) for v in (e, q))
    e_unit, q_unit = e / e_norm, q / q_norm
    r = F.normalize(e_unit + q_unit, dim=1)
    rotated = z - 2 * (z * r).sum(1, keepdim=True) * r + 2 * (z * e_unit).sum(1, keepdim=True) * q_unit
    scaled: Tensor = q_norm / e_norm * rotated
    return q + (scaled - scaled.detach())


def vq_loss(z: Tensor, z_q: Tensor, beta: float) -> Tensor:
    """Return mean((z_q − sg z)²) + β·mean((z − sg z_q)²), a scalar.

    The codebook term and the commitment of VQ-VAE (arXiv 1711.00937, equation 3).
    """
    return F.mse_loss(z_q, z.detach()) + beta * F.mse_loss(z, z_q.detach())


# Statistics of code counts and code probabilities ---------------------------------------------------------------------


def shares(counts: Tensor) -> Tensor:
    """Divide counts (K,) by their total."""
    return counts / counts.sum()


def perplexity(share: Tensor) -> Tensor:
    """Return the effective number of used codes, in [1, K].

    exp(−Σ q ln(q + 1e-10)) of the shares q (K,).
    """
    return torch.exp(-(share * torch.log(share + 1e-10)).sum())


def usage_logs(counts: Tensor) -> dict[str, Tensor]:
    """Return perplexity, in [1, K], and share of used codes, for plots.

    ``counts`` (K,) are those of one batch.
    """
    return {"perplexity": perplexity(shares(counts)), "usage": (counts > 0).float().mean()}


def entropy(p: Tensor) -> Tensor:
    """Return −Σ p ln p (…,), in nats, of probabilities ``p`` (…, K).

    Below 1e-10 the logarithm is that of 1e-10.
    """
    return -(p * p.clamp(min=1e-10).log()).sum(-1)


def bit_entropy(logits: Tensor) -> Tensor:
    """Return the entropy (N,), in nats, of L independent bits.

    Each is 1 with probability σ(``logits``), (N, L).
    """
    return (F.softplus(logits) - logits * logits.sigmoid()).sum(1)


def mean_bit_posterior(logits: Tensor) -> Tensor:
    """Return the mean probabilities (2^L,) of all codes of independent bits.

    Bits are 1 with probability σ(``logits``), (N, L), the first one the most significant.

    A code's probability is the product over its bits, so with the bits split in two halves, A (N, 2^⌊L/2⌋) and
    B (N, 2^⌈L/2⌉), the mean is AᵀB/N: exact, and never an (N, 2^L) matrix.
    """
    half = logits.shape[1] // 2
    left, right = (_all_patterns(part.sigmoid()) for part in (logits[:, :half], logits[:, half:]))
    return (left.T @ right).flatten() / logits.shape[0]


def _all_patterns(p: Tensor) -> Tensor:
    """Return the probabilities (N, 2^l) of all patterns of l independent bits.

    ``p`` (N, l) are the probabilities of a 1.
    """
    joint = p.new_ones(p.shape[0], 1)
    for p_one in p.unbind(1):
        joint = (joint[:, :, None] * torch.stack([1 - p_one, p_one], 1)[:, None]).flatten(1)
    return joint
