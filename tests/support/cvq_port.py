"""A port of CVQ by plain torch, other names than ours, with one fault at a time to plant."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.quantizer import Quantizer, QuantizerOutput


class CVQPort(Quantizer):
    """CVQ under l2 with the closest anchor and without the contrastive term."""

    paper: ClassVar[str] = "a port of arXiv 2307.15139"
    distributed: ClassVar[bool] = False

    def __init__(self, num_codes: int, dim: int, *, fault: str = "") -> None:
        super().__init__(num_codes, dim)
        self.fault = fault
        self.embedding = nn.Embedding(num_codes, dim)
        self.hits = nn.Buffer(torch.zeros(num_codes))

    def forward(self, z: Tensor) -> QuantizerOutput:
        fault, rows = self.fault, z.permute(0, 2, 3, 1).reshape(-1, self.dim)
        codes_vectors = self.embedding.weight.clone()
        far = torch.cdist(rows.detach(), codes_vectors.detach())
        chosen = far.argmax(1) if fault == "sign" else far.argmin(1)
        if fault == "half" and self.training:
            chosen[0] = (chosen[0] + 1) % self.num_codes
        z_q = codes_vectors[chosen].view(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2)
        norm = torch.sum if fault == "sum" else torch.mean
        left, right = (1.0, 0.25) if fault == "beta" else (0.25, 1.0)
        loss = left * norm((z - z_q.detach()) ** 2) + right * norm((z_q - z.detach()) ** 2)
        if self.training and fault != "still":
            self.relocate(rows.detach(), chosen, far)
        if self.training and fault == "draw":
            z_q = z_q + 0.01 * torch.randn_like(z)
        if fault == "evaluation" and not self.training:
            z_q = F.normalize(z_q, dim=1)
        passed = 4 * (z - z.detach()) if fault == "depth" else z - z.detach()
        return QuantizerOutput(z_q.detach() + passed, chosen.view(z.shape[0], *z.shape[2:], 1), loss)

    @torch.no_grad()
    def relocate(self, rows: Tensor, chosen: Tensor, far: Tensor) -> None:
        share = F.one_hot(chosen, self.num_codes).to(rows.dtype).mean(0)
        self.hits.copy_(share if self.fault == "decay" else 0.99 * self.hits + 0.01 * share)
        alpha = torch.exp(-10 * self.num_codes * self.hits / 0.01 - 1e-3)[:, None]
        anchors = rows[far.argmax(0) if self.fault == "farthest" else far.argmin(0)]
        self.embedding.weight.mul_(1 - alpha).add_(alpha * anchors)

    def decode(self, codes: Tensor) -> Tensor:
        return self.embedding(codes[..., 0]).permute(0, 3, 1, 2)
