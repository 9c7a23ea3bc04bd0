"""SimVQ: one linear map moves all codes."""

from __future__ import annotations

from math import sqrt

import pytest
import torch

from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    feature_map,
    train_step,
)
from vqbench.quantizers.simvq import SimVQ
from vqbench.quantizers.vq import VQ


def test_simvq_moves_all_codes_by_the_linear_map() -> None:
    """Loss and codes are those of VQ with the mapped codebook; one step moves codes that nothing chose, C stays."""
    quantizer, z = SimVQ(NUM_CODES, DIM), feature_map()
    assert quantizer.frozen.std().item() == pytest.approx(1 / sqrt(DIM), rel=0.2)
    plain = VQ(NUM_CODES, DIM)
    plain.codebook.data.copy_(quantizer.frozen @ quantizer.projection.weight.T + quantizer.projection.bias)
    out, expected = quantizer(z), plain(z)
    assert torch.equal(out.codes, expected.codes)
    torch.testing.assert_close(out.loss, expected.loss)
    before, frozen = quantizer.codebook.detach().clone(), quantizer.frozen.clone()
    train_step(quantizer, z, seed=0)
    assert (quantizer.codebook != before).any(1).all()
    assert len(out.codes.unique()) < NUM_CODES
    assert torch.equal(quantizer.frozen, frozen)
