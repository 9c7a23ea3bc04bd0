"""A backbone under test: how the checks build, feed and train it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.backbone import Backbone
from vqbench.conformance.case import Case
from vqbench.conformance.outcome import Skip
from vqbench.errors import UsageError
from vqbench.registry import Kind

CHANNELS = 3
SIDE = 32  # pixels at least


@dataclass(frozen=True)
class BackboneCase(Case):
    """One backbone with one set of arguments, for features of ``dim`` channels."""

    dim: int = 8

    kind: ClassVar[Kind] = "backbones"

    @property
    def fixed(self) -> tuple[str, ...]:
        return ("channels", "dim")

    def build(self, seed: int = 0, channels: int = CHANNELS) -> Backbone:
        """Build the backbone in training mode, with weights drawn after ``seed``."""
        torch.manual_seed(seed)
        return cast(Backbone, self.cls(channels, self.dim, **self.args))

    def side(self, backbone: Backbone, times: int = 2) -> int:
        """Return a side in pixels that the backbone takes, the smallest ``times`` 1."""
        factor = backbone.factor or 8
        return max(times * factor, -(-SIDE // factor) * factor + (times - 2) * factor)

    def images(self, backbone: Backbone, batch: int = 4, channels: int = CHANNELS, seed: int = 1) -> Tensor:
        """Draw images (batch, channels, S, S) in [-1, 1]."""
        side = self.side(backbone)
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(batch, channels, 5, 5, generator=generator)
        return 2 * F.interpolate(coarse, (side, side), mode="bilinear") - 1

    def trained(self, steps: int = 2) -> Backbone:
        """Build the backbone and train it for some steps."""
        backbone = self.build()
        for step in range(steps):
            train_step(backbone, self.images(backbone, seed=step), seed=step)
        return backbone


def weights_exist(case: BackboneCase) -> None:
    """Raise Skip for a backbone without weights."""
    if not list(case.build().parameters()):
        raise Skip("has no weights")


def train_step(backbone: Backbone, x: Tensor, seed: int) -> Tensor:
    """Train one step on the squared error, seeded; return the loss ().

    Each parameter moves against its gradient by at most 0.01.
    """
    torch.manual_seed(seed)
    backbone.train()
    backbone.zero_grad()
    loss = F.mse_loss(backbone.decode(backbone.encode(x)).float(), x)
    if loss.requires_grad:  # not without weights
        loss.backward()
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.01 * parameter.grad / (1e-3 + parameter.grad.norm()))
    return loss.detach()


@torch.no_grad()
def reconstruct(backbone: Backbone, x: Tensor) -> dict[str, Tensor]:
    """Encode and decode in evaluation, without a quantizer."""
    backbone.eval()
    z = backbone.encode(x)
    return {"features": z, "images": backbone.decode(z)}


def refines(backbone: Backbone) -> bool:
    """Begin the second phase of training; return whether one exists."""
    try:
        backbone.begin_refinement()
    except UsageError:
        return False
    return True
