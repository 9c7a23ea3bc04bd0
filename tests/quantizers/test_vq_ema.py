"""VQ-EMA: debiased running means, and a loss of the commitment alone."""

from __future__ import annotations

import torch
from torch import nn

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    feature_map,
)
from vqbench.quantizers.vq_ema import VQEMA


def test_vq_ema_is_the_debiased_running_mean() -> None:
    """After some steps each code is the smoothed ratio of explicit weighted sums over all steps, from step one on."""
    quantizer = VQEMA(3, 2).double()
    totals, sums = torch.zeros(3).double(), torch.zeros(3, 2).double()
    steps = 4
    for t in range(1, steps + 1):
        z = torch.randn(2, 2, 3, 3).double()
        old = quantizer.codebook.clone()
        out = quantizer(z)
        assert torch.equal(out.z_q, Q.look_up(out.codes, old))  # this step's features get the codebook as it was
        weight = 0.01 * 0.99 ** (steps - t) / (1 - 0.99**steps)
        one_hot = nn.functional.one_hot(out.codes.flatten(), 3).double()
        totals += weight * one_hot.sum(0)
        sums += weight * one_hot.T @ Q.flatten(z, 2)
    n = totals.sum()
    expected = sums / ((totals + 1e-5) / (n + 3e-5) * n)[:, None]
    torch.testing.assert_close(quantizer.codebook, expected)


def test_vq_ema_has_no_codebook_loss() -> None:
    """The loss is β times the commitment alone, in training and in evaluation."""
    quantizer, z = VQEMA(NUM_CODES, DIM), feature_map()
    for training in (False, True):
        out = quantizer.train(training)(z)
        torch.testing.assert_close(out.loss, 0.25 * (out.z_q - z).square().mean())
