"""Entropy VQ: the loss by hand, and the start of its preset."""

from __future__ import annotations

import inspect
from math import sqrt

import pytest
import torch
from torch import nn

from tests.support.quantizing import (
    as_map,
)
from vqbench import registry
from vqbench.quantizers.entropy_vq import EntropyVQ
from vqbench.quantizers.vq import VQ


@pytest.mark.parametrize("certainty", [0.0, 1.0])
def test_entropy_vq_loss_by_hand(certainty: float) -> None:
    """VQ's loss plus the entropies of softmax(−‖z − e‖²/T)."""
    torch.manual_seed(0)
    quantizer = EntropyVQ(5, 3, entropy=0.2, certainty=certainty, temperature=0.5).double()
    nn.init.normal_(quantizer.codebook)
    plain = VQ(5, 3).double()
    plain.load_state_dict(quantizer.state_dict())
    rows = torch.randn(4, 3).double()
    p = (-torch.cdist(rows, quantizer.codebook).square() / 0.5).softmax(1)
    entropies = -certainty * (p * p.log()).sum(1).mean() + (p.mean(0) * p.mean(0).log()).sum()
    torch.testing.assert_close(quantizer(as_map(rows)).loss, plain(as_map(rows)).loss + 0.2 * entropies)


def test_seqgan_says_what_it_starts_from() -> None:
    """The preset of entropy_vq has that method's start, which its docstring says of it by name."""
    _, kind, arguments = registry.find("quantizers", "seqgan")
    torch.manual_seed(0)
    codebook, bound = kind(512, 64, **arguments).codebook.detach(), sqrt(3 / 512)
    assert 0.999 * bound < codebook.abs().max() <= bound
    assert codebook.square().mean().sqrt().item() == pytest.approx(bound / sqrt(3), rel=0.02)
    text = " ".join((inspect.getdoc(EntropyVQ) or "").split())
    assert "``seqgan``" in text
    assert "Its codes start at U(±√(3/K)) too" in text
