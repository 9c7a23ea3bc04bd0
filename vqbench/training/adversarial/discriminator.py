"""Discriminators by name, and the images that they can judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from vqbench.training.adversarial.patch import Patch
from vqbench.training.adversarial.stylegan import StyleGAN

DiscriminatorName = Literal["patch", "stylegan"]


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Which discriminator, and its size."""

    name: DiscriminatorName
    width: int  # channels
    layers: int  # of patch alone

    def build(self, channels: int, size: int) -> nn.Module:
        """Return an untrained discriminator of images (B, channels, size, size)."""
        if self.name == "patch":
            return Patch(channels, self.width, self.layers)
        return StyleGAN(channels, size, self.width)

    def misfit(self, size: int) -> str | None:
        """Return why it cannot judge images of ``size`` pixels a side, and what would work; None if it can."""
        if self.name == "stylegan":
            whole = size >= 8 and size & (size - 1) == 0
            return None if whole else f"discriminator stylegan needs a power of two, 8 or more, as side, not {size}"
        if size >> self.layers < 3:  # two more convolutions take a position each
            return (
                f"discriminator_layers {self.layers} leave nothing of images of {size} pixels; they need "
                f"{3 << self.layers} or more, so take fewer, or larger images"
            )
        return None
