"""Written-out gradients of distances, relaxed samples and posteriors are those of autograd."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import vqbench.functional as Q

EPSILON = 1e-9
TAU = torch.tensor(0.4, dtype=torch.float64)


def plain_distances(z: Tensor, e: Tensor) -> Tensor:
    return (z[:, None] - e).square().sum(2)


def plain_sample(z: Tensor, e: Tensor, noise: Tensor | None) -> Tensor:
    logits = z @ e.T
    return ((logits if noise is None else logits + noise) / TAU).softmax(1) @ e


def plain_posterior(z: Tensor, e: Tensor) -> Tensor:
    d = plain_distances(z, e)
    q = d.neg().softmax(1)
    return 3 * (q * (q + EPSILON).log()).sum() - 2 * (q * d).sum()


def plain_entropies(z: Tensor, e: Tensor) -> Tensor:
    log_p = (z @ e.T).log_softmax(1)
    p = log_p.exp()
    return 3 * -(p * log_p).sum() + (p.sum(0) * torch.arange(len(e))).sum()


def ours_posterior(z: Tensor, e: Tensor) -> Tensor:
    negentropy, cost = Q.posterior_sums(Q.squared_distances(z, e), EPSILON)
    return 3 * negentropy - 2 * cost


def ours_entropies(z: Tensor, e: Tensor) -> Tensor:
    entropy, sums = Q.total_entropy(z @ e.T)
    return 3 * entropy + (sums * torch.arange(len(e))).sum()


NOISE = torch.randn(20, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
PAIRS: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "distances": (Q.squared_distances, plain_distances),
    "sample": (lambda z, e: Q.relaxed_sample(z @ e.T, NOISE, TAU, e)[0], lambda z, e: plain_sample(z, e, NOISE)),
    "sample without noise": (
        lambda z, e: Q.relaxed_sample(z @ e.T, None, TAU, e)[0],
        lambda z, e: plain_sample(z, e, None),
    ),
    "posterior": (ours_posterior, plain_posterior),
    "entropies": (ours_entropies, plain_entropies),
    "one entropy": (
        lambda z, e: Q.total_entropy(z @ e.T)[0],
        lambda z, e: -((z @ e.T).log_softmax(1) * (z @ e.T).softmax(1)).sum(),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_those_of_the_formula(name: str) -> None:
    """Each function equals its formula as autograd differentiates it, for features and codes, in float64."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(20, 3, dtype=torch.float64, generator=generator)
    e = torch.randn(7, 3, dtype=torch.float64, generator=generator)
    results = []
    for function in PAIRS[name]:
        leaves = z.clone().requires_grad_(), e.clone().requires_grad_()
        value = function(*leaves)
        (value * torch.arange(value.numel()).add(1).view(value.shape)).sum().backward()
        results.append((value.detach(), *(leaf.grad for leaf in leaves)))
    for ours, plain in zip(*results, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-7, atol=1e-7)


def test_far_codes_have_no_denormal_weights() -> None:
    """Weights of codes at every distance are numbers that processors compute with at full speed."""
    logits = -torch.linspace(0, 200, 512)[None]
    _, weights = Q.relaxed_sample(logits, None, torch.ones(()), torch.ones(512, 2))
    assert bool((weights >= torch.finfo(torch.float32).tiny).all())
    torch.testing.assert_close(weights, logits.softmax(1), rtol=1e-6, atol=1e-30)
