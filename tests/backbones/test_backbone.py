"""The backbone of the small-data tables, and the model around it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv, RectifiedResidualBlock
from vqbench.quantizers.vq import VQ


@pytest.mark.parametrize(("channels", "size", "parameters", "side"), [(1, 28, 691_393, 7), (3, 32, 695_491, 8)])
def test_parameter_counts_and_shapes(channels: int, size: int, parameters: int, side: int) -> None:
    """With a codebook of 512 codes of 64 dimensions the model has the released model's size, and its code map."""
    model = Autoencoder(Conv(channels, 64), VQ(512, 64))
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    reconstruction, out = model(torch.rand(2, channels, size, size))
    assert reconstruction.shape == (2, channels, size, size)
    assert out.codes.shape == (2, side, side, 1)


def test_residual_block_rectifies_its_skip() -> None:
    """The block is relu(x) + F(relu(x)), not x + F(relu(x)): where all x are negative its skip carries nothing."""
    block = RectifiedResidualBlock(4, 2)
    x = -torch.rand(1, 4, 5, 5) - 0.1
    before = x.clone()
    nothing = block.expand(F.relu(block.squeeze(torch.zeros_like(x))))
    assert torch.equal(block(x), nothing)
    assert torch.equal(x, before), "the input itself is not overwritten"


def test_quantizers_see_float32_under_autocast() -> None:
    """Under bfloat16 autocast the backbone computes in bfloat16, but codes are those of the features in float32."""
    torch.manual_seed(0)
    model = Autoencoder(Conv(1, 64, hidden=16, residual_hidden=8), VQ(512, 64, init="sonnet"))
    x = torch.rand(8, 1, 28, 28)
    with torch.autocast("cpu", torch.bfloat16):
        z = model.backbone.encode(x)
        _, out = model(x)
    assert z.dtype == torch.bfloat16
    assert torch.equal(out.codes, model.quantizer(z.float()).codes)
