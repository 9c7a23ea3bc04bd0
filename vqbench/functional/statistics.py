"""Statistics of code counts and code probabilities: usage, perplexity, entropies."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import all_mean


def shares(counts: Tensor) -> Tensor:
    """Counts (K,) as shares of their total."""
    return counts / counts.sum()


def perplexity(share: Tensor) -> Tensor:
    """exp(−Σ q ln(q + 1e-10)) in [1, K]: how many codes, equally used, would be as uncertain as the shares (K,)."""
    return torch.exp(-(share * torch.log(share + 1e-10)).sum())


def usage_logs(counts: Tensor) -> dict[str, Tensor]:
    """Perplexity of the batch and the share of codes that it used, to plot."""
    return {"perplexity": perplexity(shares(counts)), "usage": (counts > 0).float().mean()}


def entropy(p: Tensor) -> Tensor:
    """−Σ p ln p, in nats, of probabilities ``p`` (…, K); what is below 1e-10 has the logarithm of that."""
    return -(p * p.clamp(min=1e-10).log()).sum(-1)


def mean_and_total_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of softmax(``logits``) (N, K): the mean of the entropies, and the entropy of the global batch's mean. Scalars."""
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    return -(p * log_p).sum(1).mean(), entropy(all_mean(p.mean(0)))


def bit_entropy(logits: Tensor) -> Tensor:
    """The entropy (N,), in nats, of L independent bits that are 1 with probability σ(logits) (N, L)."""
    return (F.softplus(logits) - logits * logits.sigmoid()).sum(1)


def mean_bit_posterior(logits: Tensor) -> Tensor:
    """The mean over the N features of their probabilities of all 2^L codes, (2^L,), for independent bits.

    A code's probability is the product over its bits, so with the bits split in two halves, A (N, 2^⌊L/2⌋) and
    B (N, 2^⌈L/2⌉), the mean is AᵀB/N: exact, and never an (N, 2^L) matrix.
    """
    half = logits.shape[1] // 2
    left, right = (_all_patterns(part.sigmoid()) for part in (logits[:, :half], logits[:, half:]))
    return (left.T @ right).flatten() / len(logits)


def _all_patterns(p: Tensor) -> Tensor:
    """The probabilities (N, 2^l) of all patterns of l independent bits, from those of a 1, ``p`` (N, l)."""
    joint = p.new_ones(len(p), 1)
    for one in p.unbind(1):
        joint = (joint[:, :, None] * torch.stack([1 - one, one], 1)[:, None]).flatten(1)
    return joint
