"""The transformer autoencoder of ViT-VQGAN."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.backbone import Backbone
from vqbench.bounds import Layers, Width
from vqbench.errors import UsageError


class Shape(NamedTuple):
    """A transformer's size; the hidden layer of its products is four times as wide as it is."""

    layers: int
    width: int
    heads: int


SMALL, BASE, LARGE = Shape(8, 512, 8), Shape(12, 768, 12), Shape(32, 1280, 16)
VARIANTS = {"small": (SMALL, SMALL), "base": (BASE, BASE), "large": (SMALL, LARGE)}  # encoder, decoder


class Layer(nn.Module):
    """x + attention(norm(x)), then x + product(tanh(product(norm(x))))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width)
        self.hidden = nn.Linear(width, 4 * width)
        self.back = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        y: Tensor = x + self.back(torch.tanh(self.hidden(self.norm2(x))))
        return y


class TransformerLayers(nn.Module):
    """Maps (B, width, h, w) to the same: fixed positions are added, layers follow, and a norm at the end."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer(shape.width, shape.heads) for _ in range(shape.layers)))
        self.norm = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, h·w, width)
        tokens = tokens + positions(x.shape[1], x.shape[2], x.shape[3], x.device).to(x.dtype)
        y: Tensor = self.norm(self.layers(tokens))
        return y.transpose(1, 2).reshape(x.shape)


def positions(width: int, rows: int, columns: int, device: torch.device) -> Tensor:
    """(rows·columns, width): sines and cosines of the column in the first half of the channels, then of the row.

    Of the frequencies 10000^(−i/q), i = 0 … q − 1, q = width/4.
    """
    frequencies = 10000 ** -(torch.arange(width // 4, device=device) / (width // 4))
    column = torch.arange(columns, device=device).repeat(rows)[:, None] * frequencies
    row = torch.arange(rows, device=device).repeat_interleave(columns)[:, None] * frequencies
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], 1)


class ViT(Backbone):
    """Patches as tokens, a transformer each way: with ``patch`` 8, 256 pixels to 32x32 positions.

    ``variant``: ``small`` (8 layers of width 512, 8 heads), ``base`` (12 of 768, 12 heads), or ``large``, the small
    encoder with a decoder of 32 layers of 1280, 16 heads. ``layers``, ``width`` and ``heads`` change both.
    Where ``dim`` is not the transformers' width, a linear map takes features to it, and one takes codes from it. The
    quantizer ``l2norm_vq`` (preset ``vit_vqgan``) brings its own, to its 32 dimensions: give it ``dim`` 512, or 768.

    Source: an independent implementation (enhancing-transformers of thuanz123). Differs from the paper where that does:
    there is no logit-Laplace loss, so the decoder predicts an image and no scales.
    """

    paper: ClassVar[str] = (
        "J. Yu et al., Vector-quantized Image Modeling with Improved VQGAN, ICLR 2022, arXiv 2110.04627"
    )
    VERSION = 1

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        variant: Literal["small", "base", "large"] = "small",
        patch: Width = 8,
        layers: Layers | None = None,
        width: Width | None = None,
        heads: Width | None = None,
    ) -> None:
        super().__init__()
        encoder, decoder = (
            Shape(layers or shape.layers, width or shape.width, heads or shape.heads) for shape in VARIANTS[variant]
        )
        for shape in (encoder, decoder):
            if shape.width % 4 or shape.width % shape.heads:
                raise UsageError(f"width {shape.width} must be divisible by 4 and by the {shape.heads} heads")
        self.factor = patch
        self.patches = nn.Conv2d(channels, encoder.width, patch, stride=patch)
        self.encoder = TransformerLayers(encoder)
        self.to_code = _linear(encoder.width, dim)
        self.from_code = _linear(dim, decoder.width)
        self.decoder = TransformerLayers(decoder)
        self.pixels = nn.ConvTranspose2d(decoder.width, channels, patch, stride=patch)

    def encode(self, x: Tensor) -> Tensor:
        z: Tensor = self.to_code(self.encoder(self.patches(x)))
        return z

    def decode(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.pixels(self.decoder(self.from_code(z_q)))
        return x

    def last_layer(self) -> Tensor:
        return self.pixels.weight


def _linear(before: int, after: int) -> nn.Module:
    return nn.Identity() if before == after else nn.Conv2d(before, after, 1)
