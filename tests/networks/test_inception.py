"""Inception's layers are those of torch-fidelity."""

from __future__ import annotations

import torch

from tests.support.measured_batches import (
    CPU,
    colour,
)
from vqbench.images import rounded
from vqbench.networks import inception


def test_layers_are_torch_fidelitys_network(weights: None) -> None:
    """Layer by layer behind its own preprocessing, the network gives exactly what torch-fidelity's forward gives."""
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

    net = inception.network(CPU)
    levels = rounded((colour(2) + 1) / 2)
    x = (interpolate_bilinear_2d_like_tensorflow1x(levels.float(), (299, 299), align_corners=False) - 128) / 128
    assert torch.equal(inception._pool3(net, x), net(levels)[0])
