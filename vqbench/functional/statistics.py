"""Statistics of code counts and code probabilities."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import all_mean


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


def mean_and_total_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean entropy, and the entropy of the mean probabilities.

    Probabilities are softmax(``logits``), (N, K). The second scalar is over the global batch.
    """
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    return -(p * log_p).sum(1).mean(), entropy(all_mean(p.mean(0)))


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
    return (left.T @ right).flatten() / len(logits)


def _all_patterns(p: Tensor) -> Tensor:
    """Return the probabilities (N, 2^l) of all patterns of l independent bits.

    ``p`` (N, l) are the probabilities of a 1.
    """
    joint = p.new_ones(len(p), 1)
    for p_one in p.unbind(1):
        joint = (joint[:, :, None] * torch.stack([1 - p_one, p_one], 1)[:, None]).flatten(1)
    return joint
