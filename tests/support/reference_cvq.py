"""The plain form of one CVQ training step: whole matrices, full sorts, autograd. What the fast form must agree with."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def similarity(features: Tensor, codebook: Tensor, distance: str) -> Tensor:
    """All similarities s_ik, (N, K)."""
    if distance == "cosine":
        return F.normalize(features, dim=1) @ F.normalize(codebook, dim=1).T
    return -(features[:, None] - codebook[None]).pow(2).sum(2)


def contrastive(s: Tensor, temperature: float = 0.07) -> Tensor:
    """The contrastive term () of similarities (N, K): cross-entropy of the positive among the sorted negatives."""
    n, num_codes = s.shape
    ordered = s.T.contiguous().sort(dim=1).values  # (K, N), ascending
    positive = ordered[:, -max(1, n // num_codes) :].mean(1, keepdim=True)
    logits = torch.cat([positive, ordered[:, : n // 2]], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(num_codes, dtype=torch.long))


class ReferenceCVQ:
    """Codebook and usage of CVQ, moved step by step; ``pick`` maps similarities (N, K) to each code's anchor (K,).

    ``released`` takes the released code's order: the codebook is relocated by binding its ``.data`` anew before the
    backward pass, which then reads the relocated vectors where it meant those of the forward pass.
    """

    def __init__(
        self,
        codebook: Tensor,
        distance: str,
        online: bool,
        contrast: bool,
        pick: Callable[[Tensor], Tensor],
        released: bool = False,
    ) -> None:
        self.codebook = codebook.clone().requires_grad_()
        self.usage = torch.zeros(len(codebook), dtype=codebook.dtype)
        self.distance, self.online, self.contrast, self.pick = distance, online, contrast, pick
        self.released, self.done = released, False

    def step(self, features: Tensor, optimizer: torch.optim.Optimizer) -> Tensor:
        """Loss of one training step on ``features`` (N, D): gradients, the relocation, then the optimiser."""
        s = similarity(features.detach(), self.codebook, self.distance)
        codes = s.detach().sort(dim=1, stable=True).indices[:, -1]
        z_q = self.codebook[codes]
        loss = 0.25 * ((z_q.detach() - features) ** 2).mean() + ((z_q - features.detach()) ** 2).mean()
        if self.contrast:
            loss = loss + contrastive(s)
        optimizer.zero_grad()
        if self.released:
            self.relocate(features.detach(), s.detach(), codes)
            loss.backward()
        else:
            loss.backward()
            self.relocate(features.detach(), s.detach(), codes)
        optimizer.step()
        return loss.detach()

    def relocate(self, features: Tensor, s: Tensor, codes: Tensor) -> None:
        """Usage from the ``codes`` (N,) of ``features`` (N, D), then every code towards its anchor."""
        num_codes = len(self.codebook)
        share = torch.bincount(codes, minlength=num_codes).to(s.dtype) / len(codes)
        self.usage = 0.99 * self.usage + 0.01 * share
        if self.online or not self.done:
            alpha = torch.exp(-10 * num_codes * self.usage / 0.01 - 1e-3)[:, None]
            self.codebook.data = (1 - alpha) * self.codebook.data + alpha * features[self.pick(s)]
            self.done = True
