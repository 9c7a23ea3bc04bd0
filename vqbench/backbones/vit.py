"""The transformer autoencoder of ViT-VQGAN."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.backbone import Backbone
from vqbench.bounds import Layers, Width
from vqbench.errors import UsageError


class TransformerSize(NamedTuple):
    """Size of a transformer, whose hidden layers have four times its width."""

    layers: int
    width: int
    heads: int


SMALL, BASE, LARGE = TransformerSize(8, 512, 8), TransformerSize(12, 768, 12), TransformerSize(32, 1280, 16)
VARIANTS = {"small": (SMALL, SMALL), "base": (BASE, BASE), "large": (SMALL, LARGE)}  # encoder, decoder


class TransformerLayer(nn.Module):
    """x + attention(norm(x)), then x + linear(tanh(linear(norm(x))))."""

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
    """A transformer on maps (B, width, h, w), with positions and a final norm."""

    def __init__(self, shape: TransformerSize) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(TransformerLayer(shape.width, shape.heads) for _ in range(shape.layers)))
        self.norm = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (B, h·w, width)
        tokens = tokens + positions(x.shape[1], x.shape[2], x.shape[3], x.device).to(x.dtype)
        y: Tensor = self.norm(self.layers(tokens))
        return y.transpose(1, 2).reshape(x.shape)


def positions(width: int, rows: int, columns: int, device: torch.device) -> Tensor:
    """Return the position embeddings, (rows·columns, width).

    Sines and cosines of the column in the first half of the channels, of the row in the second, at the frequencies
    10000^(−i/q), i = 0 … q − 1, q = width/4.
    """
    frequencies = 10000 ** -(torch.arange(width // 4, device=device) / (width // 4))
    column = torch.arange(columns, device=device).repeat(rows)[:, None] * frequencies
    row = torch.arange(rows, device=device).repeat_interleave(columns)[:, None] * frequencies
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], 1)


class ViT(Backbone):
    """Patches as tokens, and a transformer in each direction.

    With ``patch`` 8, 256 pixels become 32x32 positions. ``variant``: ``small`` (8 layers of width 512, 8 heads),
    ``base`` (12 of 768, 12 heads), or ``large``, the small encoder with a decoder of 32 layers of 1280, 16 heads.
    ``layers``, ``width`` and ``heads`` change both.
    Where ``dim`` is not the transformers' width, one linear map leads to it, and one back. The
    quantizer ``l2norm_vq`` (preset ``vit_vqgan``) has maps of its own to 32 dimensions: give it ``dim`` 512, or 768.

    Source: an independent implementation (enhancing-transformers of thuanz123). Like that,
    it differs from the paper in one point: without a logit-Laplace loss the decoder predicts an image and no scales.
    """

    paper: ClassVar[str] = (
        "J. Yu et al., Vector-quantized Image Modeling with Improved VQGAN, ICLR 2022, arXiv 2110.04627"
    )
    VERSION = 1
    check_args: ClassVar = {"layers": 1, "width": 32, "heads": 2}

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
            TransformerSize(layers or shape.layers, width or shape.width, heads or shape.heads)
            for shape in VARIANTS[variant]
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


def _linear(in_channels: int, out_channels: int) -> nn.Module:
    return nn.Identity() if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)
