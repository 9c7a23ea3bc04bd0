"""The backbones of the high-resolution tables: their sizes, their shapes, and what sets them apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vqbench import registry
from vqbench.backbones.vqgan import VQGAN
from vqbench.errors import UsageError


def size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_vqgan_has_the_published_size_and_shapes() -> None:
    """At f16 encoder, decoder and 1x1 convolutions have the released model's parameters; 256 pixels go to 16x16."""
    with torch.device("meta"):
        net = VQGAN(3, 256)
        z = net.encode(torch.zeros(2, 3, 256, 256))
        assert net.decode(z).shape == (2, 3, 256, 256)
    assert z.shape == (2, 256, 16, 16)
    assert size(net.encoder) == 29_298_176
    assert size(net.decoder) == 42_449_795
    assert size(net.quant_conv) + size(net.post_quant_conv) == 131_584
    assert net.last_layer() is net.decoder.conv_out.weight


def test_first_stages_of_latent_diffusion_have_their_published_sizes() -> None:
    """The same blocks, without attention or with other multipliers, give the sizes of latent diffusion's f4 and f8."""
    with torch.device("meta"):
        f4 = VQGAN(3, 3, multipliers="1x2x4", attention="none", z_channels=3)
        f8 = VQGAN(3, 4, multipliers="1x2x2x4", attention="32", z_channels=4)
    assert (size(f4.encoder), size(f4.decoder)) == (22_337_411, 32_960_771)
    assert (size(f8.encoder), size(f8.decoder)) == (27_397_764, 40_253_955)


def test_rqvae_is_a_preset_at_f32() -> None:
    """RQ-VAE's backbone has one resolution more, so that 256 pixels go to 8x8 positions."""
    name, cls, args = registry.find("backbones", "rqvae")
    assert name == "vqgan"
    with torch.device("meta"):
        net = cls(3, 256, **args)
        z = net.encode(torch.zeros(1, 3, 256, 256))
        assert z.shape == (1, 256, 8, 8)
        assert net.decode(z).shape == (1, 3, 256, 256)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"width": 48}, "multiple of 32"),
        ({"multipliers": "1,2"}, "must read like 1x1x2x2x4"),
        ({"attention": "20"}, "no map of a picture of 256 pixels has the side 20"),
    ],
)
def test_what_cannot_be_built_is_refused(args: dict[str, object], sentence: str) -> None:
    """Widths that group norm cannot divide, lists that do not read as such, and sides that no map has."""
    with pytest.raises(UsageError, match=sentence):
        VQGAN(3, 8, **args)  # type: ignore[arg-type]
