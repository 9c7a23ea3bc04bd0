"""VQ-STE++: the inner step, and its gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    feature_map,
)
from vqbench.quantizers.vq_ste_plus import VQSTEPlus


def test_vq_ste_plus_step_is_gradient_descent_with_a_bound() -> None:
    """A small rate is a step of SGD on mean((c − z)²); a large one lands every used code on its mean, and no unused."""
    torch.manual_seed(0)
    z = feature_map().double()
    rows = Q.flatten(z.detach(), DIM)
    for rate in (1e-3, 1e6):
        quantizer = VQSTEPlus(5, DIM, inner_rate=rate, affine=2.0).double()
        nn.init.normal_(quantizer.codes)
        nn.init.normal_(quantizer.scale, std=0.1)
        before, codes = quantizer.codes.detach().clone(), Q.assign(rows, quantizer.codebook)
        error = (F.embedding(codes, quantizer.codebook) - rows).square().mean()
        (gradient,) = torch.autograd.grad(error, quantizer.codes)
        quantizer(z)
        if rate < 1:
            torch.testing.assert_close(quantizer.codes.detach(), before - rate * gradient)
        else:
            one_hot = F.one_hot(codes, 5).double()
            mean = one_hot.T @ rows / one_hot.sum(0).clamp(min=1)[:, None]
            used = one_hot.sum(0) > 0
            torch.testing.assert_close(quantizer.codebook.detach()[used], mean[used])
            assert torch.equal(quantizer.codes.detach()[~used], before[~used])


def test_vq_ste_plus_gradients() -> None:
    """The decoder's gradient reaches z whole and the code by ν; β weighs the codebook's term, 1 − β the commitment."""
    quantizer = VQSTEPlus(1, 2, beta=0.9, affine=3.0, synchronise=0.2, inner_rate=0.0)
    quantizer.codes.data.zero_()
    z = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1).requires_grad_()
    out = quantizer(z)
    on_z, on_code, on_shift = torch.autograd.grad(
        out.z_q.sum(), (z, quantizer.codes, quantizer.shift), retain_graph=True
    )
    assert on_z.flatten().tolist() == [1, 1]
    assert on_code.flatten().tolist() == pytest.approx([0.2, 0.2])
    assert on_shift.tolist() == pytest.approx([0.6, 0.6])
    on_z, on_code = torch.autograd.grad(out.loss, (z, quantizer.codes))
    assert on_z.flatten().tolist() == pytest.approx([0.1 * 3, 0.1 * 4])
    assert on_code.flatten().tolist() == pytest.approx([-0.9 * 3, -0.9 * 4])
