"""IBQ: gradient through the softmax, and the loss by hand."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

import vqbench.functional as Q
from tests.support.quantizing import (
    as_map,
)
from vqbench.quantizers.ibq import IBQ


def test_ibq_gradient_goes_through_the_softmax() -> None:
    """z_q is the code of the largest product, its gradient that of Σ p_k e_k with e constant; all codes get one."""
    torch.manual_seed(0)
    quantizer = IBQ(5, 3).double()
    nn.init.normal_(quantizer.codebook)
    rows, g = torch.randn(4, 3).double().requires_grad_(), torch.randn(4, 3).double()
    z_q = Q.flatten(quantizer(as_map(rows)).z_q, 3)
    book = quantizer.codebook
    torch.testing.assert_close(z_q, book[(rows @ book.T).argmax(1)])
    gradient, on_codes = torch.autograd.grad((z_q * g).sum(), (rows, book))
    soft = (rows @ book.T).softmax(1) @ book.detach()
    expected, through_logits = torch.autograd.grad((soft * g).sum(), (rows, book))
    torch.testing.assert_close(gradient, expected)
    one_hot = F.one_hot((rows @ book.T).argmax(1), 5).double()
    torch.testing.assert_close(on_codes, through_logits + one_hot.T @ g)
    assert (on_codes.abs().sum(1) > 0).all()


def test_ibq_loss_by_hand() -> None:
    """2 + β times the squared error, and the entropies at T; β falls on the codebook's term."""
    torch.manual_seed(0)
    quantizer = IBQ(5, 3, beta=0.3, entropy=0.2, temperature=0.5).double()
    nn.init.normal_(quantizer.codebook)
    rows = torch.randn(4, 3).double()
    logits = rows @ quantizer.codebook.T
    p = (logits / 0.5).softmax(1)
    entropies = -(p * p.log()).sum(1).mean() + (p.mean(0) * p.mean(0).log()).sum()
    error = (rows - quantizer.codebook[logits.argmax(1)]).square().mean()
    torch.testing.assert_close(quantizer(as_map(rows)).loss, 2.3 * error + 0.2 * entropies)
