"""The plain training step that ours is compared with: whole matrices, full sorts, contiguous float32.

Written from what the released code of CVQ-VAE does, in the order in which it does it: similarities of all features with
all codes, a full ascending sort whose last entry is the assignment, the loss, then usage and relocation through
``.data``, and the contrastive term from a full sort along the features. Everything else (backbone, Adam, objective) is
the same network in torch's default memory format.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench import registry
from vqbench.backbone import Autoencoder
from vqbench.images import to_unit
from vqbench.profiling.timing import Noise, RandomImages
from vqbench.quantizer import Quantizer, QuantizerOutput

Anchor = Literal["none", "closest", "probability"]
# Name -> distance, anchor, contrastive: row A of the ablation, the script's default, the headline.
SETTINGS: dict[str, tuple[str, Anchor, bool]] = {
    "baseline": ("l2", "none", False),
    "closest": ("cosine", "closest", False),
    "headline": ("cosine", "probability", True),
}
BETA, DECAY, TEMPERATURE = 0.25, 0.99, 0.07


class Plain(Quantizer):
    """CVQ by full sorts; ``anchor="none"`` is the baseline, which sorts for its assignment as well."""

    paper = "C. Zheng, A. Vedaldi, Online Clustered Codebook, ICCV 2023, arXiv 2307.15139"

    def __init__(self, num_codes: int, dim: int, distance: str, anchor: Anchor, contrastive: bool) -> None:
        super().__init__(num_codes, dim)
        self.distance, self.anchor, self.contrastive = distance, anchor, contrastive
        self.codebook = torch.nn.Parameter(torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))
        self.usage = torch.nn.Buffer(torch.zeros(num_codes))

    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W)."""
        rows = z.permute(0, 2, 3, 1).contiguous()  # (B, H, W, dim)
        features = rows.view(-1, self.dim)  # (N, dim)
        s = self.similarity(features.detach())  # (N, K)
        codes = s.sort(dim=1).indices[:, -1]
        z_q = self.codebook[codes].view(rows.shape)
        loss = BETA * ((z_q.detach() - rows) ** 2).mean() + ((z_q - rows.detach()) ** 2).mean()
        share = torch.bincount(codes, minlength=self.num_codes) / len(codes)
        logs = {"perplexity": torch.exp(-(share * torch.log(share + 1e-10)).sum())}
        if self.training:
            self.relocate(features.detach(), s.detach(), share)
            if self.contrastive:
                loss = loss + self.contrast(s)
        straight = rows + (z_q - rows).detach()
        shape = (len(z), *z.shape[2:], 1)
        return QuantizerOutput(straight.permute(0, 3, 1, 2).contiguous(), codes.view(shape), loss, logs)

    def similarity(self, features: Tensor) -> Tensor:
        """All similarities, (N, K), with a gradient to the codebook."""
        if self.distance == "cosine":
            return F.normalize(features, dim=1) @ F.normalize(self.codebook, dim=1).T
        lengths = features.square().sum(1, keepdim=True) + self.codebook.square().sum(1)
        return -(lengths - 2 * features @ self.codebook.T)

    def relocate(self, features: Tensor, s: Tensor, share: Tensor) -> None:
        """Usage, and every code towards its anchor."""
        self.usage.mul_(DECAY).add_(share, alpha=1 - DECAY)
        if self.anchor == "none":
            return
        if self.anchor == "closest":
            index = s.sort(dim=0).indices[-1]
        else:
            index = torch.multinomial(s.T.softmax(dim=1), 1)[:, 0]
        alpha = torch.exp(-10 * self.num_codes * self.usage / (1 - DECAY) - 1e-3)[:, None]
        self.codebook.data = (1 - alpha) * self.codebook.data + alpha * features[index]

    def contrast(self, s: Tensor) -> Tensor:
        """The contrastive term () from similarities (N, K) sorted along the features."""
        n = len(s)
        ordered = s.sort(dim=0).values
        positive = ordered[-max(1, n // self.num_codes) :].mean(0, keepdim=True)
        logits = torch.cat([positive, ordered[: n // 2]]).T / TEMPERATURE  # (K, 1 + N/2)
        return F.cross_entropy(logits, torch.zeros(self.num_codes, dtype=torch.int64, device=s.device))


def plain_step(setting: str, like: RandomImages, num_codes: int, dim: int, device: torch.device) -> Callable[[], None]:
    """One update of the plain model after the other, on random images like ours."""
    backbone = registry.load("backbones", "conv")(like.channels, dim)
    model = Autoencoder(backbone, Plain(num_codes, dim, *SETTINGS[setting])).to(device)
    adam = torch.optim.Adam(model.parameters(), lr=3e-4)
    pixels = Noise(like, like.batch).pixels("train").to(device)

    def step() -> None:
        x = to_unit(pixels)
        adam.zero_grad()
        reconstruction, out = model(x)
        (F.mse_loss(reconstruction, x) / 0.09 + out.loss).backward()
        adam.step()

    return step
