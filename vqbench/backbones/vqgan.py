"""The convolutional autoencoder of VQGAN."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from vqbench.backbone import Backbone
from vqbench.backbones._blocks import Decoder, Encoder, levels_with, numbers, require_widths
from vqbench.bounds import Layers, Side, Width


class VQGAN(Backbone):
    """Residual blocks with group norm and swish at every resolution.

    At the defaults 256 pixels become 16x16 positions. ``width`` times ``multipliers`` are the channels of the
    resolutions, which halve from one to the next: five make f = 16. ``attention`` names the sides of the maps, for
    images of ``size`` pixels, whose blocks are each followed by a single-head attention; ``middle`` is the attention
    between the two blocks in the middle. A 1x1 convolution maps the ``z_channels`` of the encoder to ``dim``, and
    another one back.

    At the defaults, for three channels and ``dim`` 256, the encoder has 29,298,176 parameters, the decoder 42,449,795,
    and the 1x1 convolutions have 131,584. The preset ``rqvae`` is RQ-VAE's for FFHQ: 256 pixels to 8x8 positions.

    Differs from the released code: no dropout, whose rate is 0 in all its configurations.
    """

    paper: ClassVar[str] = (
        "P. Esser, R. Rombach, B. Ommer, Taming Transformers for High-Resolution Image Synthesis, CVPR 2021, "
        "arXiv 2012.09841; D. Lee et al. (RQ-VAE), CVPR 2022, arXiv 2203.01941"
    )
    VERSION = 1
    check_args: ClassVar[Mapping[str, Any]] = {
        "width": 32,
        "multipliers": "1x1",
        "blocks": 1,
        "attention": "16",
        "z_channels": 32,
        "size": 32,
    }
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"rqvae": {"multipliers": "1x1x2x2x4x4"}}

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        width: Width = 128,
        multipliers: str = "1x1x2x2x4",
        blocks: Layers = 2,
        attention: str = "16",
        middle: bool = True,
        z_channels: Width = 256,
        size: Side = 256,
    ) -> None:
        super().__init__()
        require_widths(width)
        widths = [width * multiplier for multiplier in numbers("multipliers", multipliers)]
        self.factor = 2 ** (len(widths) - 1)
        self.shape = (widths, blocks, levels_with(attention, size, len(widths)), middle)
        self.encoder = Encoder(channels, z_channels, *self.shape)
        self.decoder = self.make_decoder(channels, z_channels, dim)
        self.quant_conv = nn.Conv2d(z_channels, dim, 1)
        self.post_quant_conv = nn.Conv2d(dim, z_channels, 1)

    def make_decoder(self, channels: int, z_channels: int, dim: int) -> Decoder:
        """Construct the decoder, in which other backbones differ."""
        return Decoder(channels, z_channels, *self.shape)

    def encode(self, x: Tensor) -> Tensor:
        z: Tensor = self.quant_conv(self.encoder(x))
        return z

    def decode(self, z_q: Tensor) -> Tensor:
        x: Tensor = self.decoder(self.post_quant_conv(z_q), z_q)
        return x

    def last_layer(self) -> Tensor:
        return self.decoder.conv_out.weight
