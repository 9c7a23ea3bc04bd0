"""The convolutional encoder and decoder of VQGAN, by the blocks of DDPM's U-Net.

Modules and their attributes are named as in the checkpoints of taming-transformers, which thereby load as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.bounds import whole
from vqbench.errors import UsageError, shortened

GROUPS = 32
EPS = 1e-6


class Norm(nn.GroupNorm):
    """Group norm, which takes no notice of the quantized map."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels, eps=EPS)

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        return super().forward(x)


MakeNorm = Callable[[int], nn.Module]  # channels -> a module that is called with (x, z_q)


class ResidualBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))), with a 1x1 convolution of x where the width changes."""

    def __init__(self, before: int, after: int, norm: MakeNorm = Norm) -> None:
        super().__init__()
        self.norm1 = norm(before)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = norm(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.nin_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, z_q)))
        h = self.conv2(F.silu(self.norm2(h, z_q)))
        y: Tensor = (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h
        return y


class Attention(nn.Module):
    """x + the attention, with one head, of every position to all others."""

    def __init__(self, channels: int, norm: MakeNorm = Norm) -> None:
        super().__init__()
        self.norm = norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        h = self.norm(x, z_q)
        q, k, v = (layer(h).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))  # (B, positions, C)
        h = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)
        y: Tensor = x + self.proj_out(h)
        return y


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2, padded at the right and below: half the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return y


class Upsample(nn.Module):
    """Every position four times, then a 3x3 convolution: twice the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class Level(nn.Module):
    """The blocks of one resolution, each followed by an attention where there is one, and the change of resolution."""

    def __init__(self, widths: Sequence[int], attention: bool, norm: MakeNorm = Norm) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(*pair, norm) for pair in pairwise(widths))
        self.attn = nn.ModuleList(Attention(after, norm) for after in widths[1:] if attention)
        self.upsample: nn.Module = nn.Identity()
        self.downsample: nn.Module = nn.Identity()

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x, z_q)
            if self.attn:
                x = self.attn[index](x, z_q)
        y: Tensor = self.upsample(self.downsample(x))
        return y


class Middle(nn.Module):
    """Residual block, attention unless there is none, residual block."""

    def __init__(self, channels: int, attention: bool, norm: MakeNorm = Norm) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels, norm)
        if attention:
            self.attn_1 = Attention(channels, norm)
        self.block_2 = ResidualBlock(channels, channels, norm)

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        x = self.block_1(x, z_q)
        if hasattr(self, "attn_1"):
            x = self.attn_1(x, z_q)
        y: Tensor = self.block_2(x, z_q)
        return y


class Encoder(nn.Module):
    """Images (B, channels, S, S) to maps (B, z_channels, S/f, S/f), f = 2^(levels − 1).

    ``widths`` are the channels of every level, ``attention`` the levels that have one, counted from the image.
    """

    def __init__(
        self, channels: int, z_channels: int, widths: Sequence[int], blocks: int, attention: set[int], middle: bool
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for index, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            level = Level([before, *[after] * blocks], index in attention)
            if index < len(widths) - 1:
                level.downsample = Downsample(after)
            self.down.append(level)
        self.mid = Middle(widths[-1], middle)
        self.norm_out = Norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        z: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return z


class Decoder(nn.Module):
    """Maps (B, z_channels, s, s) to images (B, channels, f·s, f·s): the encoder backwards, one block more a level.

    Norms that are modulated by the quantized map are given it; see :class:`Norm`.
    """

    def __init__(
        self,
        channels: int,
        z_channels: int,
        widths: Sequence[int],
        blocks: int,
        attention: set[int],
        middle: bool,
        norm: MakeNorm = Norm,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1], middle, norm)
        self.up = nn.ModuleList()
        for index, (after, before) in enumerate(zip(widths, (*widths[1:], widths[-1]), strict=True)):
            level = Level([before, *[after] * (blocks + 1)], index in attention, norm)
            if index > 0:
                level.upsample = Upsample(after)
            self.up.append(level)
        self.norm_out = norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], channels, 3, padding=1)

    def forward(self, z: Tensor, z_q: Tensor | None = None) -> Tensor:
        h = self.mid(self.conv_in(z), z_q)
        for level in reversed(self.up):
            h = level(h, z_q)
        x: Tensor = self.conv_out(F.silu(self.norm_out(h, z_q)))
        return x


def numbers(argument: str, text: str) -> list[int]:
    """The whole numbers of ``1x1x2x2x4``. Raises UsageError for anything else."""
    found = [whole(word, 2**14) for word in text.split("x")]
    if None in found or len(found) > 32:
        raise UsageError(f"{argument} must read like 1x1x2x2x4, not {shortened(text)!r}")
    return [number for number in found if number is not None]


def levels_with(attention: str, size: int, levels: int) -> set[int]:
    """The levels whose maps have the sides ``attention``, or none, where images have ``size`` pixels."""
    sides = [size >> level for level in range(levels)]
    wanted = numbers("attention", attention) if attention != "none" else []
    for side in wanted:
        if side not in sides:
            known = ", ".join(map(str, sides))
            raise UsageError(f"attention: no map of an image of {size} pixels has the side {side}; they have {known}")
    return {sides.index(side) for side in wanted}


def require_widths(width: int) -> None:
    """Raise UsageError unless group norm can divide ``width``."""
    if width < GROUPS or width % GROUPS:
        raise UsageError(f"width must be a multiple of {GROUPS}, into which group norm divides it, not {width}")
