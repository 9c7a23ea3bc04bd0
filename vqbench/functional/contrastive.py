"""CVQ's contrastive term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.distributed.collectives import gather_rows, own_rows, put_together
from vqbench.functional import codes
from vqbench.functional.codes import Distance, inner_product_form
from vqbench.functional.extremes import select_

TILE = 64  # codes: products of whole tiles take less time


def contrastive_loss(
    features: Tensor, codebook: Tensor, distance: Distance, temperature: float, rebound: Tensor | None = None
) -> Tensor:
    """CVQ's contrastive term (), over the features (N, D); the gradient reaches the codebook (K, D) only.

    mean_k −ln[exp(p_k/τ) / (exp(p_k/τ) + Σ_j exp(s_jk/τ))], where p_k is the mean similarity of the ⌊N/K⌋ features
    (at least one) most similar to code k, and j runs over the ⌊N/2⌋ least similar ones. Without negatives (N = 1) the
    term is zero. With several ranks, N features are those of the global batch: which of them are most and least similar
    is decided by their order, so every rank gathers them all, and contrasts its own part of the codes with them.

    With ``rebound``, under ``cosine``, the gradient is that of :class:`_ReboundNormalize`.
    """
    a, b = inner_product_form(gather_rows(features.detach()), codebook, distance)
    if rebound is not None and distance == "cosine":
        normalized: Callable[..., Tensor] = _ReboundNormalize.apply
        b = normalized(codebook, rebound)
    loss: Callable[..., Tensor] = _Contrast.apply
    return loss(b, a, temperature)


class _ReboundNormalize(torch.autograd.Function):
    """e/‖e‖ with the gradient that torch gives where e is replaced between forward and backward.

    The released code of CVQ-VAE relocates codes by binding new values to the parameter before the backward pass.
    What backward then reads is the norm n as it was and the vector e' as it is: g/n − (g·e')·e'/n³, which for a
    relocated code is larger than its true gradient by up to (‖e'‖/n)². ``rebound`` is the parameter, read in backward.
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
    """The contrastive term by blocks of codes; the gradient is made on the way, so that only (K, D') is kept for it."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, a: Tensor, temperature: float) -> Tensor:
        size = max(1, 2 * codes.BLOCK // len(a))
        size = size // TILE * TILE or size
        transposed = a.T.contiguous()  # (D', N)
        own = own_rows(b)
        similarities = a.new_empty(min(size, len(own)), len(a))  # one for all parts, as in ``assign``
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
    """Losses (k,) of the codes ``b`` (k, D') against the features ``a`` (N, D'), and their gradient (k, D').

    What a caller of many blocks has: a.T in one piece, and memory (k, N) for the similarities.
    """
    near, far = max(1, len(a) // num_codes), len(a) // 2
    if far == 0:
        return torch.zeros_like(b[:, 0]), torch.zeros_like(b)
    s = torch.mm(b / temperature, a.T if transposed is None else transposed, out=similarities)  # (k, N), s/τ
    nearest, positive, edge, total = select_(s, near, far)
    gap = total.log() + edge - positive  # ln Σ_j exp(s_j/τ) − p/τ
    negatives = s @ a / total  # mean feature, softmax over the negatives
    positives = F.embedding_bag(nearest, a, mode="mean")
    return -F.logsigmoid(-gap)[:, 0], gap.sigmoid() / temperature * (negatives - positives)
