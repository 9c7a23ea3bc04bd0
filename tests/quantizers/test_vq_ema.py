"""VQ-EMA: debiased running means, and a loss of the commitment alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    as_map,
    feature_map,
    wave,
)
from vqbench import registry
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


def test_cosine_codes_are_unit_running_means_of_unit_features() -> None:
    """NumPy: M ← 0.8M + 0.2·sum of the code's unit features, e = M/|M|, with M starting at the codes.

    Values, loss and gradient use the codes of before the step; a code that nothing chose stays.
    """
    quantizer = VQEMA(6, 3, distance="cosine", beta=1.0, decay=0.8).double()
    codes = wave(6, 3, 40).numpy()
    codes[5] = [-1, -1, -1]  # chosen by none of the features below
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    for buffer in (quantizer.codebook, quantizer.average_sums):
        buffer.copy_(torch.from_numpy(codes))
    means = codes.copy()
    for step in range(3):
        rows = wave(6, 3, 7 * step).numpy()
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / length
        chosen = (unit @ codes.T).argmax(1)
        z = as_map(torch.from_numpy(rows)).requires_grad_()
        out = quantizer(z)
        assert out.codes.flatten().tolist() == chosen.tolist()
        np.testing.assert_allclose(Q.flatten(out.z_q, 3).detach(), codes[chosen], atol=1e-12)
        np.testing.assert_allclose(out.loss.detach(), ((unit - codes[chosen]) ** 2).mean(), atol=1e-12)
        (out.z_q.sum() + out.loss).backward()
        upstream = 1 + 2 * (unit - codes[chosen]) / unit.size  # at the unit features
        expected = (upstream - (upstream * unit).sum(1, keepdims=True) * unit) / length
        assert z.grad is not None
        np.testing.assert_allclose(Q.flatten(z.grad, 3), expected, atol=1e-12)
        means = 0.8 * means + 0.2 * np.stack([unit[chosen == code].sum(0) for code in range(6)])
        codes = means / np.linalg.norm(means, axis=1, keepdims=True)
        np.testing.assert_allclose(quantizer.codebook, codes, atol=1e-12)
    np.testing.assert_allclose(quantizer.codebook[5], [-(3**-0.5)] * 3)


def test_the_default_distance_is_no_part_of_a_key() -> None:
    """Runs from before the argument keep their key; the preset has the defaults of vector-quantize-pytorch."""
    budget = {"num_codes": 512, "dim": 64}
    assert "distance" not in registry.resolve("quantizers", "vq_ema", {}, budget).args
    args = registry.resolve("quantizers", "vq_ema_cosine", {}, budget).args
    assert (args["distance"], args["decay"], args["beta"]) == ("cosine", 0.8, 1.0)
