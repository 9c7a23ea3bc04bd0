"""The discriminator of StyleGAN2."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.errors import UsageError

SMALLEST = 4  # side of the last map


class Equalized(nn.Module):
    """Weights that start as N(0, 1) and are divided by the root of their fan-in at every use (arXiv 1710.10196)."""

    def __init__(self, *shape: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.bias = nn.Parameter(torch.zeros(shape[0])) if bias else None
        self.scale = 1 / math.sqrt(math.prod(shape[1:]))


class Convolution(Equalized):
    """A ``size`` x ``size`` convolution that keeps the side or, after a blur, halves it."""

    def __init__(self, in_channels: int, out_channels: int, size: int, halves: bool = False, bias: bool = True) -> None:
        super().__init__(out_channels, in_channels, size, size, bias=bias)
        self.size, self.halves = size, halves
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.blur = nn.Buffer(torch.outer(taps, taps).expand(in_channels, 1, 4, 4).clone(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        padding = self.size // 2
        if self.halves:
            x = F.conv2d(F.pad(x, (1 + padding,) * 4), self.blur, groups=x.shape[1])
            return F.conv2d(x, self.weight * self.scale, self.bias, stride=2)
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=padding)


class Linear(Equalized):
    """A linear layer with equalized weights."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.scale, self.bias)


def activate(x: Tensor) -> Tensor:
    """Return √2·LeakyReLU(x), which keeps the variance of a normal input about the same."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


class DownBlock(nn.Module):
    """Two convolutions, the second to half the side, and a shortcut: their sum over √2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = Convolution(in_channels, in_channels, 3)
        self.second = Convolution(in_channels, out_channels, 3, halves=True)
        self.shortcut = Convolution(in_channels, out_channels, 1, halves=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = (activate(self.second(activate(self.first(x)))) + self.shortcut(x)) / math.sqrt(2)
        return y


class StyleGAN(nn.Module):
    """Judges whole images (B, C, size, size) in [-1, 1]: logits (B, 1).

    Residual blocks down to 4x4, then the standard deviation within groups of ``group`` neighbouring images as one
    more channel, a convolution and two products. ``width`` is the number of channels at 64 pixels, where the paper's
    larger configuration has 512; it halves with every doubling of the side and never exceeds ``width``.

    Source: T. Karras et al., Analyzing and Improving the Image Quality of StyleGAN, CVPR 2020, arXiv 1912.04958, as
    ViT-VQGAN uses it. Raises UsageError for a side that is not a power of two, or below 8.
    """

    def __init__(self, channels: int, size: int, width: int = 512, group: int = 4) -> None:
        super().__init__()
        if size < 2 * SMALLEST or size & (size - 1):
            raise UsageError(
                f"discriminator: stylegan needs images of 8, 16, 32, 64 ... pixels a side, not {size}; use patch"
            )
        self.group = group
        sides = [size >> level for level in range(int(math.log2(size // SMALLEST)) + 1)]  # size ... 4
        widths = [min(width, width * 64 // side) for side in sides]
        self.first = Convolution(channels, widths[0], 1)
        self.blocks = nn.Sequential(*(DownBlock(*pair) for pair in pairwise(widths)))
        self.last = Convolution(widths[-1] + 1, widths[-1], 3)
        self.hidden = Linear(widths[-1], widths[-1] * SMALLEST**2)
        self.logit = Linear(1, widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(activate(self.first(x)))  # (B, width, 4, 4)
        x = activate(self.last(torch.cat([x, self.deviation(x)], 1)))
        logits: Tensor = self.logit(activate(self.hidden(x.flatten(1))))
        return logits

    def deviation(self, x: Tensor) -> Tensor:
        """Return the standard deviation over a group of images, averaged over channels and positions: (B, 1, h, w)."""
        count = len(x)
        size = self.group if count % self.group == 0 else count
        grouped = x.float().view(count // size, size, *x.shape[1:])
        deviation = (grouped.var(1, correction=0) + 1e-8).sqrt().flatten(1).mean(1)  # (groups,)
        return deviation.repeat_interleave(size).view(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:]).to(x.dtype)
