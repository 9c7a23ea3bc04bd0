"""Entropy is the bits per image of an ideal code for the codes' frequencies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from tests.support.measured_batches import CODES, batch_of, coded, codes_of, context, grey, metric
from vqbench.quantizers.multiscale import MultiScale


def test_equally_frequent_codes_cost_the_bits_of_a_uniform_code() -> None:
    """Four codes, equally frequent at one position: 2 bits; one code alone: none, whatever the batches."""
    for cuts in ([4], [1, 2, 1]):
        entropy = metric("entropy", context(num_codes=4, depth=1))
        for piece in torch.arange(4).split(cuts):
            entropy.update(coded([[[[int(code)]]] for code in piece]))
        assert entropy.compute() == pytest.approx(2.0)
    entropy.start(context(num_codes=4, depth=1))
    entropy.update(coded([[[[1], [1]]], [[[1], [1]]]]))
    assert entropy.compute() == 0


def test_entropy_equals_scipy_s_on_codes_of_images() -> None:
    """On codes of real images it is the sum over depths of positions times scipy's entropy of the counts."""
    codes = codes_of(grey(50))  # (B, 4, 4, 2)
    entropy = metric("entropy")
    entropy.update(replace(batch_of(grey(50)), codes=codes))
    counts = [np.bincount(codes[..., depth].flatten(), minlength=CODES) for depth in range(2)]
    assert entropy.compute() == pytest.approx(sum(16 * scipy.stats.entropy(each, base=2) for each in counts), rel=1e-12)
    assert 0 < entropy.compute() < 16 * 2 * 4


def test_a_cell_of_a_coarse_scale_counts_once() -> None:
    """Codes of a grid of 1, 2, 4 and 7 cells a side count as often as the grid has cells, not positions."""
    torch.manual_seed(0)
    quantizer = MultiScale(64, 8, scales=4, side=7).eval()
    codes = quantizer(torch.randn(20, 8, 7, 7)).codes  # (B, 7, 7, 4)
    of = replace(
        context(num_codes=quantizer.num_codes, depth=4, bits=quantizer.bits), codes_per_image=quantizer.codes_per_image
    )
    entropy = metric("entropy", of)
    for piece in codes.split([13, 7]):
        images = torch.zeros(len(piece), 1, 4, 4)
        entropy.update(replace(coded(piece.tolist()), originals=images))
    counts = [np.bincount(codes[..., depth].flatten()) for depth in range(4)]
    cells = [1, 4, 16, 49]
    expected = sum(n * scipy.stats.entropy(each, base=2) for n, each in zip(cells, counts, strict=True))
    assert entropy.compute() == pytest.approx(expected, rel=1e-12)
    assert entropy.compute() < 49 * quantizer.bits
