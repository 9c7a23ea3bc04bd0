"""VQBridge: built and started as released."""

from __future__ import annotations

import torch
from torch import nn

from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    feature_map,
)
from vqbench.quantizers.vq_bridge import VQBridge


def test_vq_bridge_starts_with_equal_codes_and_parts_them() -> None:
    """At the start code 0 takes every feature; after some steps of Adam several codes are used, and 24 share tokens."""
    torch.manual_seed(0)
    quantizer, z = VQBridge(NUM_CODES, DIM, hidden=16), feature_map(batch=20)
    assert (quantizer(z).codes == 0).all()
    assert quantizer.codebook.shape == (NUM_CODES, DIM)
    adam = torch.optim.Adam(quantizer.parameters(), 1e-2)
    for _ in range(30):
        adam.zero_grad()
        quantizer(z).loss.backward()
        adam.step()
    assert len(quantizer(z).codes.unique()) > 3


def test_the_bridge_is_built_as_released() -> None:
    """Two blocks of attention and a network of twice the width, no weights in any LayerNorm, and one before the last
    linear map: its output has one size for all tokens, whatever the size of the codes."""
    bridge = VQBridge(64, 8, hidden=32)
    assert not [each for each in bridge.modules() if isinstance(each, nn.LayerNorm)]
    assert [block.network[0].out_features for block in bridge.blocks] == [64, 64]  # type: ignore[union-attr]
    assert [block.network[1].approximate for block in bridge.blocks] == ["tanh"] * 2  # type: ignore[union-attr]
    nn.init.eye_(bridge.recover.weight)
    for scale in (1.0, 1000.0):
        bridge.seed.data.normal_(0, scale)
        tokens = bridge.codebook.view(4, -1)[:, :32]  # what the last map was given
        torch.testing.assert_close(tokens.square().mean(1), torch.ones(4), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(tokens.mean(1), torch.zeros(4), rtol=0, atol=1e-5)
