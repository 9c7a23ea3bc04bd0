"""Codes made of bits: packing, and entropies against those over all codes."""

from __future__ import annotations

import pytest
import torch

import vqbench.functional as Q
from tests.support.quantizing import all_signs


@pytest.mark.parametrize("num_bits", [1, 2, 5])
def test_bits_pack_and_unpack(num_bits: int) -> None:
    """Codes are the signs read as a binary number, the first the highest; zero counts as minus."""
    signs = all_signs(num_bits)
    assert torch.equal(Q.pack_bits(signs), torch.arange(2**num_bits))
    assert torch.equal(Q.unpack_bits(torch.arange(2**num_bits), num_bits), signs.float())
    assert Q.signs(torch.tensor([-2.0, 0.0, 2.0])).tolist() == [-1, -1, 1]


@pytest.mark.parametrize("num_bits", [1, 2, 3, 6])
def test_entropies_of_bits_are_those_over_all_codes(num_bits: int) -> None:
    """Entropy and mean posterior from the bits equal those of the product distribution over all 2^L codes."""
    logits = torch.randn(7, num_bits, generator=torch.Generator().manual_seed(0)).double()
    posterior = (logits @ all_signs(num_bits).double().T / 2).softmax(1)  # (7, 2^L)
    torch.testing.assert_close(Q.bit_entropy(logits), -(posterior * posterior.log()).sum(1))
    torch.testing.assert_close(Q.mean_bit_posterior(logits), posterior.mean(0))
