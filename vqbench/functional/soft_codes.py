"""Weigh all codes of a feature: distances, posteriors, relaxed samples.

Their gradients are written out, in as few passes over an (N, K) matrix as they need: with 64 dimensions each pass that
autograd would add costs as much as a tenth of the product of features and codes, and some cost more than the product.
Programs that ``torch.export`` traces have no gradients, and get the plain formulas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vqbench.distributed.collectives import all_mean
from vqbench.functional.codes import entropy

LOWEST = -70.0  # e⁻⁷⁰ is negligible in a sum of at least 1, and its products are still normal float32 numbers


def squared_distances(features: Tensor, codebook: Tensor) -> Tensor:
    """Return ‖z_i − e_k‖² as one (N, K) matrix, never negative.

    For methods that weigh all codes of every feature; the others use :func:`assign`.
    """
    if torch.compiler.is_exporting():
        return _distances(features, codebook)
    distances: Callable[..., Tensor] = _SquaredDistances.apply
    return distances(features, codebook)


def _distances(features: Tensor, codebook: Tensor) -> Tensor:
    products = torch.addmm(codebook.square().sum(1), features, codebook.T, alpha=-2)  # ‖e‖² − 2⟨z, e⟩
    return products.add_(features.square().sum(1, keepdim=True)).clamp_(min=0)


class _SquaredDistances(torch.autograd.Function):
    """Compute ‖z‖² + ‖e‖² − 2⟨z, e⟩ (N, K)."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, codebook: Tensor) -> Tensor:
        d = _distances(features, codebook)
        ctx.save_for_backward(features, codebook, d)
        return d

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        features, codebook, d = ctx.saved_tensors
        g = torch.ops.aten.threshold_backward(upstream, d, 0)  # 0 where d was raised to 0
        of_features = of_codebook = None
        if ctx.needs_input_grad[0]:
            of_features = torch.addmm(features * g.sum(1, keepdim=True), g, codebook, beta=2, alpha=-2)
        if ctx.needs_input_grad[1]:
            of_codebook = torch.addmm(codebook * g.sum(0)[:, None], g.T, features, beta=2, alpha=-2)
        return of_features, of_codebook


def _softmax_(logits: Tensor) -> Tensor:
    """Return softmax(``logits``), (N, K).

    ``logits`` become their distance from the row's largest, at least LOWEST. Float32 has few digits below e⁻⁸⁷, and
    processors need many times as long there: where features are far from most codes, for a sixth of all weights.
    """
    return logits.sub_(logits.amax(1, keepdim=True)).clamp_(min=LOWEST).softmax(1)


def relaxed_sample(
    logits: Tensor, noise: Tensor | None, temperature: Tensor, codebook: Tensor
) -> tuple[Tensor, Tensor]:
    """Return Σ_k y_ik e_k (N, D) and y = softmax((logits + noise)/τ) (N, K).

    y has no gradient of its own; that of the sum reaches ``logits`` (N, K) and ``codebook`` (K, D). With Gumbel
    ``noise`` (N, K), or None for zeros, it is the relaxed sample of E. Jang et al., Categorical Reparameterization
    with Gumbel-Softmax, ICLR 2017, arXiv 1611.01144.
    """
    if torch.compiler.is_exporting():
        weights = ((logits if noise is None else logits + noise) / temperature).softmax(1)
        return weights @ codebook, weights
    sampled: Callable[..., tuple[Tensor, Tensor]] = _RelaxedSample.apply
    return sampled(logits, noise, temperature, codebook)


class _RelaxedSample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, noise: Tensor | None, temperature: Tensor, codebook: Tensor) -> Any:
        weights = _softmax_((logits.clone() if noise is None else logits + noise).div_(temperature))
        mixed = weights @ codebook
        ctx.save_for_backward(weights, mixed, temperature, codebook)
        ctx.mark_non_differentiable(weights)
        return mixed, weights

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor, _: Tensor) -> Any:
        weights, mixed, temperature, codebook = ctx.saved_tensors
        mean = (upstream * mixed).sum(1, keepdim=True)  # Σ_k y_k ⟨g, e_k⟩, from D numbers instead of K
        of_logits = (upstream @ codebook.T).sub_(mean).mul_(weights).div_(temperature)
        return of_logits, None, None, weights.T @ upstream if ctx.needs_input_grad[3] else None


def posterior_sums(d: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Return Σ q ln(q + ε) and Σ q·d, scalars, of q = softmax_k(−d).

    Args:
        d: (N, K).
        epsilon: ε. The gradient takes q/(q + ε) for 1, which it is up to ε/q; that part has the weight q.
    """
    if torch.compiler.is_exporting():
        q = d.neg().softmax(1)
        return (q * (q + epsilon).log()).sum(), (q * d).sum()
    summed: Callable[..., tuple[Tensor, Tensor]] = _PosteriorSums.apply
    return summed(d, epsilon)


class _PosteriorSums(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, d: Tensor, epsilon: float) -> Any:
        q = _softmax_(d.neg())
        log_q = (q + epsilon).log_()
        products = q * log_q
        negentropy = products.sum(1, keepdim=True)  # (N, 1), as the next
        cost = torch.mul(q, d, out=products).sum(1, keepdim=True)
        ctx.save_for_backward(d, q, log_q, negentropy, cost)
        return negentropy.sum(), cost.sum()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_negentropy: Tensor, of_cost: Tensor) -> Any:
        d, q, log_q, negentropy, cost = ctx.saved_tensors
        mean = of_negentropy * negentropy + of_cost * (cost + 1)
        # q·(mean − h) with h = of_negentropy·ln q + of_cost·d, through the softmax of −d; and of_cost·q itself
        return (log_q * -of_negentropy).addcmul_(d, -of_cost).add_(mean).mul_(q), None


def total_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return Σ_i H(p_i) (), in nats, and Σ_i p_i (K,) of p = softmax(logits).

    ``logits`` are (N, K).
    """
    if torch.compiler.is_exporting():
        log_p = logits.log_softmax(1)
        return -(log_p.exp() * log_p).sum(), log_p.exp().sum(0)
    totals: Callable[..., tuple[Tensor, Tensor]] = _TotalEntropy.apply
    return totals(logits)


class _TotalEntropy(torch.autograd.Function):
    """Compute H = −ln max p − Σ p s, with s = logits − max ≤ 0: one exponential."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Any:
        ctx.set_materialize_grads(False)
        s = logits.clone()
        p = _softmax_(s)
        mean = (p * s).sum(1, keepdim=True)  # (N, 1)
        ctx.save_for_backward(s, p, mean)
        return -(p.amax(1).log().sum() + mean.sum()), p.sum(0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_entropy: Tensor | None, of_sums: Tensor | None) -> Any:
        s, p, mean = ctx.saved_tensors
        g = torch.zeros_like(s) if of_entropy is None else (mean - s).mul_(of_entropy)
        if of_sums is not None:
            g.add_(of_sums).sub_((p @ of_sums)[:, None])
        return g.mul_(p)


def mean_and_total_entropy(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean entropy, and the entropy of the mean probabilities.

    Probabilities are softmax(``logits``), (N, K). The second scalar is over the global batch.
    """
    each, sums = total_entropy(logits)
    return each / logits.shape[0], entropy(all_mean(sums / logits.shape[0]))
