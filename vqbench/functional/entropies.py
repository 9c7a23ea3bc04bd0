"""Entropies of code probabilities, for methods that want every feature certain and all codes used."""

from __future__ import annotations

from torch import Tensor

from vqbench.distributed.collectives import all_mean


def entropy(p: Tensor) -> Tensor:
    """−Σ p ln p, in nats, of probabilities ``p`` (…, K); what is below 1e-10 has the logarithm of that."""
    return -(p * p.clamp(min=1e-10).log()).sum(-1)


def mean_and_total_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Of softmax(``logits``) (N, K): the mean of the entropies, and the entropy of the global batch's mean. Scalars."""
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    return -(p * log_p).sum(1).mean(), entropy(all_mean(p.mean(0)))
