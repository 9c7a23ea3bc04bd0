"""The autoencoder of MoVQ: the quantized map modulates all of its decoder."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.backbones._blocks import Decoder, MapNorm
from vqbench.backbones.vqgan import VQGAN


class ModulatedNorm(nn.Module):
    """norm(x)·γ(z_q) + β(z_q), modulated by the quantized map.

    γ and β are 1x1 convolutions of the quantized map, enlarged to the size of ``x``.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.norm_layer = MapNorm(channels)
        self.conv_y = nn.Conv2d(dim, channels, 1)
        self.conv_b = nn.Conv2d(dim, channels, 1)

    def forward(self, x: Tensor, z_q: Tensor) -> Tensor:
        factor = x.shape[-1] // z_q.shape[-1]  # the 1x1 convolutions are cheaper before the map is enlarged
        scale, shift = (F.interpolate(conv(z_q), scale_factor=factor) for conv in (self.conv_y, self.conv_b))
        y: Tensor = self.norm_layer(x) * scale + shift
        return y


class MoVQ(VQGAN):
    """VQGAN's autoencoder with a decoder modulated by the quantized map.

    Every group norm of the decoder is modulated. The arguments are VQGAN's. With the quantizer ``grouped`` (preset
    ``movq``) the features are quantized in four chunks of channels, with one codebook for all.

    Source: the released code of an independent implementation (MoVQGAN of ai-forever, without its optional 3x3
    convolution); whether the authors' own has other widths is unknown.
    """

    paper: ClassVar[str] = (
        "C. Zheng, T.-L. Vuong, J. Cai, D. Phung, MoVQ: Modulating Quantized Vectors for High-Fidelity Image "
        "Generation, NeurIPS 2022, arXiv 2209.09002"
    )
    VERSION = 1
    presets: ClassVar = {}

    def make_decoder(self, channels: int, z_channels: int, dim: int) -> Decoder:
        return Decoder(channels, z_channels, *self.shape, norm=partial(ModulatedNorm, dim=dim))
