"""Backbones with one planted fault each, by the check that must detect it."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.backbone import Backbone


class HonestPatches(Backbone):
    """Patches of four pixels, and a layer each way."""

    paper, factor = "none", 4

    def __init__(self, channels: int, dim: int, *, hidden: int = 8) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(channels, hidden, 4, 4), nn.Tanh(), nn.Conv2d(hidden, dim, 1))
        self.up = nn.Sequential(nn.Conv2d(dim, hidden, 1), nn.Tanh(), nn.ConvTranspose2d(hidden, channels, 4, 4))

    def encode(self, x: Tensor) -> Tensor:
        return self.down(x)

    def decode(self, z_q: Tensor) -> Tensor:
        return self.up(z_q)


class NoPaper(HonestPatches):
    """Names no paper."""

    paper = ""


class DimFirst(HonestPatches):
    """The constructor's first arguments are others."""

    def __init__(self, dim: int, channels: int, *, hidden: int = 8) -> None:
        super().__init__(channels, dim, hidden=hidden)


class WrongFactor(HonestPatches):
    """Declares another factor than its layers have."""

    factor = 8


class GreyOnly(HonestPatches):
    """Returns three channels, whatever it was given."""

    def decode(self, z_q: Tensor) -> Tensor:
        return self.up(z_q)[:, :1].expand(-1, 3, -1, -1)


class OneSize(HonestPatches):
    """Returns images of 32 pixels, whatever the map."""

    def decode(self, z_q: Tensor) -> Tensor:
        return nn.functional.interpolate(self.up(z_q), (32, 32))


class OfTheBatch(HonestPatches):
    """Subtracts the mean over the batch, also in evaluation."""

    def encode(self, x: Tensor) -> Tensor:
        z = self.down(x)
        return z - z.mean(0, keepdim=True)


class OtherOutline(HonestPatches):
    """Its outline has other modules."""

    @classmethod
    def outline(cls, channels: int, dim: int, **own: Any) -> Backbone:
        return cls(channels, dim, hidden=4)


class Views(HonestPatches):
    """Reads memory in the order it lies in."""

    def encode(self, x: Tensor) -> Tensor:
        plain = x.permute(0, 2, 3, 1) if x.is_contiguous(memory_format=torch.channels_last) else x
        return self.down(plain.reshape(x.shape))


class Overflows(HonestPatches):
    """Adds and subtracts a large number, which half precision does not survive."""

    def decode(self, z_q: Tensor) -> Tensor:
        y = self.up(z_q)
        return (y + 1000.0) - 1000.0


class Idle(HonestPatches):
    """Has a layer that nothing uses."""

    def __init__(self, channels: int, dim: int, *, hidden: int = 8) -> None:
        super().__init__(channels, dim, hidden=hidden)
        self.idle = nn.Conv2d(3, 3, 1)
        self.up = nn.Sequential(*self.up)  # the decoder stays last


class Detached(HonestPatches):
    """Cuts the gradient between features and images."""

    def encode(self, x: Tensor) -> Tensor:
        return self.down(x.detach())


class DecoderFirst(HonestPatches):
    """Registers the encoder last."""

    def __init__(self, channels: int, dim: int, *, hidden: int = 8) -> None:
        super().__init__(channels, dim, hidden=hidden)
        down = self.down
        del self.down
        self.down = down


class DrawsElsewhere(HonestPatches):
    """Draws a factor by Python's generator."""

    def __init__(self, channels: int, dim: int, *, hidden: int = 8) -> None:
        super().__init__(channels, dim, hidden=hidden)
        self.scale = nn.Buffer(torch.tensor(random.random()))


class OwnSeed(HonestPatches):
    """Seeds its weights itself."""

    def __init__(self, channels: int, dim: int, *, hidden: int = 8) -> None:
        torch.manual_seed(3)
        super().__init__(channels, dim, hidden=hidden)


class Counts(HonestPatches):
    """Counts its passes outside of the state."""

    passes = 0

    def encode(self, x: Tensor) -> Tensor:
        self.passes += self.training
        return self.down(x) * (1 + 0.1 * self.passes)


class DrawsAside(HonestPatches):
    """Draws a mask from a generator of its own, which goes on when a pass is computed again."""

    def __init__(self, channels: int, dim: int, *, hidden: int = 8) -> None:
        super().__init__(channels, dim, hidden=hidden)
        self.generator = torch.Generator().manual_seed(0)

    def encode(self, x: Tensor) -> Tensor:
        z = self.down(x)
        return z * torch.rand(z.shape, generator=self.generator) if self.training else z


class Dropout(HonestPatches):
    """Drops features in evaluation, too."""

    def encode(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.down(x), 0.2, training=True)


class Thaws(HonestPatches):
    """A second phase that trains the encoder, too."""

    def begin_refinement(self) -> None:
        self.requires_grad_(True)


class NarrowCodebook(HonestPatches):
    """Brings a codebook of another dimension."""

    codebook = torch.zeros(16, 3)


FAULTS: dict[str, tuple[type[Backbone], ...]] = {
    "backbone_constructor": (NoPaper, DimFirst),
    "maps_and_images": (WrongFactor, GreyOnly),
    "several_sizes": (OneSize, OfTheBatch),
    "outline_agrees": (OtherOutline,),
    "layouts": (Views,),
    "half_precision": (Overflows,),
    "every_parameter_learns": (Idle,),
    "images_learn": (Detached,),
    "last_layer_is_last": (DecoderFirst,),
    "one_seed_one_model": (DrawsElsewhere, OwnSeed),
    "state_is_complete": (Counts,),
    "checkpointable": (DrawsAside,),
    "evaluation_is_fixed": (Dropout,),
    "second_phase": (Thaws,),
    "codebook_fits": (NarrowCodebook,),
}
HONEST = (HonestPatches,)
