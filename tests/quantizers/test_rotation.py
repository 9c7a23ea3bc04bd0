"""Rotation: only the gradient differs from the inner method."""

from __future__ import annotations

import torch

from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    feature_map,
)
from vqbench.quantizers.rotation import Rotation
from vqbench.quantizers.vq_ema import VQEMA


def test_rotation_changes_the_gradient_alone() -> None:
    """Codes, values, loss and codebook after a step are those of vq_ema; the gradient at z is another."""
    torch.manual_seed(0)
    inner = VQEMA(NUM_CODES, DIM, beta=1.0, decay=0.8)
    quantizer = Rotation(NUM_CODES, DIM)
    quantizer.inner.load_state_dict(inner.state_dict())
    gradients = []
    for model in (inner, quantizer):
        z = feature_map()
        out = model(z)
        (out.z_q * torch.arange(DIM).view(DIM, 1, 1)).sum().backward()
        gradients.append((out.z_q.detach(), out.codes, out.loss.detach(), z.grad))
    for ours, expected in zip(gradients[1][:3], gradients[0][:3], strict=True):
        torch.testing.assert_close(ours, expected)
    assert torch.equal(inner.codebook, quantizer.inner.codebook)
    assert not torch.allclose(gradients[0][3], gradients[1][3])
