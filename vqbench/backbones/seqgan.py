"""The autoencoder of SeQ-GAN, with attention in a second phase."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.backbones._blocks import MapNorm, ResolutionLevel, levels_with
from vqbench.backbones.vqgan import VQGAN
from vqbench.bounds import Layers, Side, Width
from vqbench.errors import UsageError

HEAD = 32  # channels per head


class WindowAttention(nn.Module):
    """x + attention(norm(x)) within regions; x alone until it is ``active``.

    A region is a block of ``window`` x ``window`` neighbours or, ``dilated``, that many positions spread evenly over
    the whole map. The last convolution starts at zero, so that the module starts as the identity.
    """

    def __init__(self, channels: int, window: int, dilated: bool) -> None:
        super().__init__()
        self.window, self.dilated, self.active = window, dilated, False
        self.norm = MapNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)  # type: ignore[arg-type]  # a convolution has one by default

    def forward(self, x: Tensor, z_q: Tensor | None = None) -> Tensor:
        if not self.active:
            return x
        batch, _, height, width = x.shape
        window = min(self.window, height, width)
        rows, columns = height // window, width // window
        if (rows * window, columns * window) != (height, width):
            raise UsageError(
                f"backbone seqgan: a map of {height}x{width} cannot be divided into regions of {window}x{window}"
            )
        h = self.qkv(self.norm(x))
        if self.dilated:  # a region's positions are the slow index
            h = h.view(batch, 3, -1, HEAD, window, rows, window, columns).permute(1, 0, 5, 7, 2, 4, 6, 3)
        else:
            h = h.view(batch, 3, -1, HEAD, rows, window, columns, window).permute(1, 0, 4, 6, 2, 5, 7, 3)
        q, k, v = h.flatten(1, 3).flatten(3, 4)  # (regions, heads, positions, 32)
        h = F.scaled_dot_product_attention(q, k, v)
        h = h.unflatten(2, (window, window)).unflatten(0, (batch, rows, columns))  # (B, rows, columns, heads, w, w, 32)
        order = (0, 3, 6, 4, 1, 5, 2) if self.dilated else (0, 3, 6, 1, 4, 2, 5)
        y: Tensor = x + self.proj_out(h.permute(order).reshape(x.shape))
        return y


class SeQGAN(VQGAN):
    """VQGAN's autoencoder without attention; a stronger decoder in phase two.

    In the second phase of training the encoder is frozen, and in the decoder's levels whose maps have one of the sides
    ``refined`` (for images of ``size`` pixels) every residual block is followed by an attention within regions of
    ``window`` x ``window`` positions, blocks and dilated ones in turn. The recipe ``gan`` trains it in
    ``refine_steps``.

    We found no statement of where the paper's attentions stand, how large their regions are, or how they are
    initialised: here they start as the identity.
    """

    paper: ClassVar[str] = (
        "Y. Gu et al., Rethinking the Objectives of Vector-Quantized Tokenizers for Image Synthesis, CVPR 2024, "
        "arXiv 2212.03185"
    )
    VERSION = 1
    check_args: ClassVar = {
        "width": 32,
        "multipliers": "1x1",
        "blocks": 1,
        "z_channels": 32,
        "size": 32,
        "refined": "16x32",
        "window": 4,
    }
    presets: ClassVar = {}

    def __init__(
        self,
        channels: int,
        dim: int,
        *,
        width: Width = 128,
        multipliers: str = "1x1x2x2x4",
        blocks: Layers = 2,
        z_channels: Width = 256,
        size: Side = 256,
        refined: str = "16x32x64",
        window: Width = 8,
    ) -> None:
        same: dict[str, Any] = {
            "width": width,
            "multipliers": multipliers,
            "blocks": blocks,
            "z_channels": z_channels,
            "size": size,
        }
        super().__init__(channels, dim, **same, attention="none", middle=False)
        widths = self.shape[0]
        for index in levels_with(refined, size, len(widths)):
            level = self.decoder.up[index]
            if (side := size >> index) % min(window, side):
                raise UsageError(
                    f"window {window}: a map of {side}x{side} cannot be divided into regions of {window}x{window}"
                )
            assert isinstance(level, ResolutionLevel)
            level.attn = nn.ModuleList(
                WindowAttention(widths[index], window, dilated=bool(place % 2)) for place in range(len(level.block))
            )
        self.refining = nn.Buffer(torch.zeros((), dtype=torch.bool))

    def begin_refinement(self) -> None:
        self.encoder.requires_grad_(False)
        self.quant_conv.requires_grad_(False)
        self.refining.fill_(True)
        self._activate()

    def _activate(self) -> None:
        for module in self.modules():
            if isinstance(module, WindowAttention):
                module.active = bool(self.refining)

    def _load_from_state_dict(self, *args: Any, **options: Any) -> None:
        super()._load_from_state_dict(*args, **options)
        self._activate()
