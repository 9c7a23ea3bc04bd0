"""LFQ: the loss over all codes."""

from __future__ import annotations

import torch

import vqbench.functional as Q
from tests.support.quantizing import (
    all_signs,
    as_map,
    pass_through,
)
from vqbench.quantizers.lfq import LFQ


def test_lfq_loss_by_brute_force() -> None:
    """Commitment and both entropies, from a softmax of 2⟨y, c⟩/T over all codes."""
    quantizer = pass_through(LFQ(16, 4, commitment=0.3, entropy=0.2, diversity=0.7, temperature=0.5)).double()
    y = torch.randn(9, 4).double()
    out = quantizer(as_map(y))
    codes = all_signs(4).double()
    p = (2 * y @ codes.T / 0.5).softmax(1)
    entropies = -(p * p.log()).sum(1).mean() + 0.7 * (p.mean(0) * p.mean(0).log()).sum()
    expected = 0.3 * (y - y.sign()).square().mean() + 0.2 * entropies
    torch.testing.assert_close(out.loss, expected)
    assert torch.equal(out.codes.flatten(), torch.cdist(y, codes).argmin(1))
    torch.testing.assert_close(Q.flatten(out.z_q, 4), y.sign())
