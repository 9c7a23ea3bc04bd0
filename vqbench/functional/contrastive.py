"""The contrastive term of CVQ-VAE (arXiv 2307.15139)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import gather_rows, own_rows, put_together
from vqbench.functional import codes
from vqbench.functional.codes import Distance, inner_product_form
from vqbench.functional.extremes import select_extremes_

TILE = 64  # codes: matrix products of whole tiles are faster


def contrastive_loss(
    features: Tensor, codebook: Tensor, distance: Distance, temperature: float, rebound: Tensor | None = None
) -> Tensor:
    """Compute CVQ-VAE's contrastive term (), with a gradient to the codebook.

    mean_k −ln[exp(p_k/τ) / (exp(p_k/τ) + Σ_j exp(s_jk/τ))], where p_k is the mean similarity of the ⌊N/K⌋ features
    (at least one) most similar to code k, and j runs over the ⌊N/2⌋ least similar ones. Without negatives (N = 1) the
    term is zero. With several ranks, the N features are those of the global batch: the most and the least similar ones
    follow from the order of all, so every rank gathers all features and contrasts its part of the codes with them.

    Args:
        features: (N, D), without a gradient.
        codebook: (K, D).
        distance: the similarity s, minus the squared distance (``l2``) or the cosine.
        temperature: τ > 0.
        rebound: the codebook's parameter; under ``cosine`` the gradient is then that of the released code, see
            :class:`_ReboundNormalize`.
    """
    a, b = inner_product_form(gather_rows(features.detach()), codebook, distance)
    if rebound is not None and distance == "cosine":
        normalized: Callable[..., Tensor] = _ReboundNormalize.apply
        b = normalized(codebook, rebound)
    loss: Callable[..., Tensor] = _Contrast.apply
    return loss(b, a, temperature)


class _ReboundNormalize(torch.autograd.Function):
    """Compute e/‖e‖ with torch's gradient for an e replaced before backward.

    The released code of CVQ-VAE relocates codes by binding new values to the parameter before the backward pass.
    Backward then reads the old norm n and the new vector e': g/n − (g·e')·e'/n³, which for a relocated code is larger
    than its true gradient by up to (‖e'‖/n)². ``rebound`` is the parameter, read in backward.
    """

    @staticmethod
    def forward(ctx: Any, codebook: Tensor, rebound: Tensor) -> Tensor:
        norm: Tensor = codebook.norm(dim=1, keepdim=True).clamp(min=1e-12)  # (K, 1)
        ctx.rebound = rebound.detach()  # shares its memory
        ctx.save_for_backward(norm)
        return codebook / norm

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (norm,) = ctx.saved_tensors
        along = (gradient * ctx.rebound).sum(1, keepdim=True)
        return gradient / norm - along * ctx.rebound / norm**3, None


class _Contrast(torch.autograd.Function):
    """Compute the contrastive term and its gradient by blocks of codes.

    The gradient is computed in the forward pass, so that only (K, D') is kept.
    """

    @staticmethod
    def forward(ctx: Any, b: Tensor, a: Tensor, temperature: float) -> Tensor:
        size = max(1, 2 * codes.block_of(a.device) // len(a))
        size = size // TILE * TILE or size
        transposed = a.T.contiguous()  # (D', N)
        own = own_rows(b)
        similarities = a.new_empty(min(size, len(own)), len(a))  # reused by all parts, as in ``assign``
        parts = [
            contrast(part, a, len(b), temperature, transposed, similarities[: len(part)]) for part in own.split(size)
        ]
        losses, gradients = (put_together(torch.cat(each), len(b)) for each in zip(*parts, strict=True))
        ctx.save_for_backward(gradients / len(b))
        return losses.mean()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        return upstream * gradient, None, None


def contrast(
    b: Tensor,
    a: Tensor,
    num_codes: int,
    temperature: float,
    transposed: Tensor | None = None,
    similarities: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Compute the losses (k,) of codes ``b`` (k, D') and their gradient (k, D').

    ``a`` (N, D') are the features, ``num_codes`` is the number of all codes.

    A caller with many blocks passes ``transposed``, a.T in contiguous memory, and memory (k, N) for ``similarities``.
    """
    near, far = max(1, len(a) // num_codes), len(a) // 2
    if far == 0:
        return torch.zeros_like(b[:, 0]), torch.zeros_like(b)
    s = torch.mm(b / temperature, a.T if transposed is None else transposed, out=similarities)  # (k, N), s/τ
    nearest, positive, edge, total = select_extremes_(s, near, far)
    gap = total.log() + edge - positive  # ln Σ_j exp(s_j/τ) − p/τ
    negatives = s @ a / total  # mean feature, softmax over the negatives
    positives = F.embedding_bag(nearest, a, mode="mean")
    return -F.logsigmoid(-gap)[:, 0], gap.sigmoid() / temperature * (negatives - positives)
