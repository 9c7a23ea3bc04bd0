"""Residual: greedy levels, own codebooks and a shared one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    feature_map,
)
from vqbench.quantizers.residual import Residual


@pytest.mark.parametrize("shared", [False, True])
def test_residual_is_greedy(shared: bool) -> None:
    """In evaluation every level takes the code nearest to what is left; z_q is their sum, the loss the mean error."""
    quantizer = Residual(512, DIM, shared=shared).eval()
    for level in quantizer.levels:
        level.codebook.normal_()
    z = feature_map()
    out = quantizer(z)
    left, loss = Q.flatten(z, DIM), 0.0
    for depth in range(3):
        book = quantizer.levels[0 if shared else depth].codebook
        chosen = torch.cdist(left, book).argmin(1)
        assert torch.equal(chosen, out.codes[..., depth].flatten())
        left = left - book[chosen]
        loss += 0.25 * left.square().mean().item() / 3
    torch.testing.assert_close(Q.flatten(z - out.z_q, DIM), left)
    assert out.loss.item() == pytest.approx(loss, rel=1e-5)


def test_residual_shared_codebook_learns_once_a_step_from_all_levels() -> None:
    """All levels of a training step see the codebook as evaluation does; one update follows, by all residuals."""
    quantizer = Residual(512, DIM, depth=4, shared=True, threshold=0.0)
    quantizer(feature_map(seed=5))
    level, z = quantizer.levels[0], feature_map(batch=9)
    before = {name: value.clone() for name, value in level.state_dict().items()}
    expected = quantizer.eval()(z)
    out = quantizer.train()(z)
    assert torch.equal(out.codes, expected.codes)
    assert torch.equal(out.z_q, expected.z_q)
    residuals, left = [], Q.flatten(z, DIM)
    for codes in out.codes.unbind(-1):
        residuals.append(left)
        left = left - before["codebook"][codes.flatten()]
    one_hot = F.one_hot(out.codes.permute(3, 0, 1, 2).flatten(), quantizer.num_codes).float()
    torch.testing.assert_close(level.average_counts, 0.99 * before["average_counts"] + 0.01 * one_hot.sum(0))
    sums = 0.99 * before["average_sums"] + 0.01 * one_hot.T @ torch.cat(residuals)
    torch.testing.assert_close(level.average_sums, sums)


def test_residual_levels_learn_each_from_what_is_left() -> None:
    """After some steps the error falls with every level that is decoded."""
    torch.manual_seed(0)
    quantizer, z = Residual(512, DIM), feature_map(batch=40)
    for _ in range(20):
        quantizer(z)
    codes = quantizer.eval()(z).codes
    errors, total = [], torch.zeros_like(z)
    for depth, level in enumerate(quantizer.levels):
        total = total + Q.look_up(codes[..., depth, None], level.codebook)
        errors.append((z - total).square().mean().item())
    assert errors[0] > 1.2 * errors[1] > 1.4 * errors[2]
