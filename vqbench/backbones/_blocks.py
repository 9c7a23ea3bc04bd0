"""The convolutional encoder and decoder of VQGAN, of DDPM's blocks.

Modules and their attributes are named as in the checkpoints of taming-transformers, which therefore load unchanged.
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


class MapNorm(nn.GroupNorm):
    """Group norm of a map, which ignores the quantized map ``z_q``."""

    def __init__(self, channels: int) -> None:
        super().__init__(GROUPS, channels, eps=EPS)

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        return super().forward(x)


NormFactory = Callable[[int], nn.Module]  # channels -> a module that is called with (x, z_q)


class PreNormResidualBlock(nn.Module):
    """x + conv(swish(norm(conv(swish(norm(x)))))), the skip by 1x1 if needed.

    Where the number of channels changes, a 1x1 convolution of x is added instead of x.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: NormFactory = MapNorm) -> None:
        super().__init__()
        self.norm1 = norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if in_channels != out_channels:
            self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x, z_q)))
        h = self.conv2(F.silu(self.norm2(h, z_q)))
        y: Tensor = (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x) + h
        return y


class GlobalAttention(nn.Module):
    """x + attention(norm(x)), of one head, from every position to all others."""

    def __init__(self, channels: int, norm: NormFactory = MapNorm) -> None:
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
    """A 3x3 convolution of stride 2, padded right and below: half the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return y


class Upsample(nn.Module):
    """Nearest-neighbour upsampling, then a 3x3 convolution: twice the side."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return y


class ResolutionLevel(nn.Module):
    """The blocks of one resolution, with or without attention, and its change.

    ``widths`` are the channels before the first block and after each one; with ``attention`` every block is followed
    by one. The change of resolution at the end is the identity until the encoder or decoder sets it.
    """

    def __init__(self, widths: Sequence[int], attention: bool, norm: NormFactory = MapNorm) -> None:
        super().__init__()
        self.block = nn.ModuleList(PreNormResidualBlock(*pair, norm) for pair in pairwise(widths))
        self.attn = nn.ModuleList(GlobalAttention(width, norm) for width in widths[1:] if attention)
        self.upsample: nn.Module = nn.Identity()
        self.downsample: nn.Module = nn.Identity()

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        for index, block in enumerate(self.block):
            x = block(x, z_q)
            if self.attn:
                x = self.attn[index](x, z_q)
        y: Tensor = self.upsample(self.downsample(x))
        return y


class MiddleBlocks(nn.Module):
    """Two residual blocks, with or without an attention between them."""

    def __init__(self, channels: int, attention: bool, norm: NormFactory = MapNorm) -> None:
        super().__init__()
        self.block_1 = PreNormResidualBlock(channels, channels, norm)
        if attention:
            self.attn_1 = GlobalAttention(channels, norm)
        self.block_2 = PreNormResidualBlock(channels, channels, norm)

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        x = self.block_1(x, z_q)
        if hasattr(self, "attn_1"):
            x = self.attn_1(x, z_q)
        y: Tensor = self.block_2(x, z_q)
        return y


class Encoder(nn.Module):
    """Images (B, channels, S, S) to maps (B, z_channels, S/f, S/f).

    f = 2^(levels − 1). ``widths`` are the channels of every level, from the image on; ``attention`` the indices of
    the levels with attention; ``middle`` whether the blocks in the middle have one.
    """

    def __init__(
        self, channels: int, z_channels: int, widths: Sequence[int], blocks: int, attention: set[int], middle: bool
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList()
        for index, (in_channels, width) in enumerate(zip((widths[0], *widths), widths, strict=False)):
            level = ResolutionLevel([in_channels, *[width] * blocks], index in attention)
            if index < len(widths) - 1:
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid = MiddleBlocks(widths[-1], middle)
        self.norm_out = MapNorm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], z_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        z: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return z


class Decoder(nn.Module):
    """Maps (B, z_channels, s, s) to images (B, channels, f·s, f·s).

    The encoder backwards, with one more block per level. All norms get the quantized map, see :class:`MapNorm`.
    """

    def __init__(
        self,
        channels: int,
        z_channels: int,
        widths: Sequence[int],
        blocks: int,
        attention: set[int],
        middle: bool,
        norm: NormFactory = MapNorm,
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(z_channels, widths[-1], 3, padding=1)
        self.mid = MiddleBlocks(widths[-1], middle, norm)
        self.up = nn.ModuleList()
        for index, (width, in_channels) in enumerate(zip(widths, (*widths[1:], widths[-1]), strict=True)):
            level = ResolutionLevel([in_channels, *[width] * (blocks + 1)], index in attention, norm)
            if index > 0:
                level.upsample = Upsample(width)
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
    """Parse numbers such as ``1x1x2x2x4``. Raises UsageError for anything else."""
    parsed = [whole(word, 2**14) for word in text.split("x")]
    if None in parsed or len(parsed) > 32:
        raise UsageError(f"{argument} must read like 1x1x2x2x4, not {shortened(text)!r}")
    return [number for number in parsed if number is not None]


def levels_with(attention: str, size: int, levels: int) -> set[int]:
    """Return the levels whose maps have the sides that ``attention`` names.

    ``attention`` reads like ``16x32`` or is ``none``; sides are those for images of ``size`` pixels. Raises UsageError
    for a side that no map has.
    """
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
