"""Codes made of bits: packing, and the entropies of independent bits without a matrix over all codes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
