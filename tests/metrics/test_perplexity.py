"""Perplexity is the exponential of the entropy of the codes' frequencies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.support.measured_batches import (
    CODES,
    batch_of,
    coded,
    codes_of,
    context,
    grey,
    metric,
)


def test_perplexity_of_known_counts() -> None:
    """Frequencies 1/2, 1/4, 1/4, 0 of four codes: 2^1.5, whatever the batches."""
    for cuts in ([4], [1, 2, 1], [2, 2]):
        perplexity = metric("perplexity", context(num_codes=4, depth=1))
        for piece in torch.tensor([0, 1, 0, 2]).split(cuts):
            perplexity.update(coded([[[[int(code)]]] for code in piece]))
        assert perplexity.compute() == pytest.approx(2**1.5, rel=1e-8)


def test_perplexity_is_a_mean_over_depths() -> None:
    """One depth on a single code, the other on all four: perplexities 1 and 4."""
    perplexity = metric("perplexity", context(num_codes=4))
    perplexity.update(coded([[[[0, code]]] for code in range(4)]))
    assert perplexity.compute() == pytest.approx(2.5, rel=1e-8)


def test_perplexity_equals_the_one_hot_formula() -> None:
    """On codes of real images it is exp(-sum p ln(p + 1e-10)) of the mean of one-hot rows."""
    codes = codes_of(grey(50))[..., :1]
    collector = metric("perplexity")
    collector.update(replace(batch_of(grey(50)), codes=codes))
    p = torch.nn.functional.one_hot(codes.flatten(), CODES).double().mean(0)
    assert collector.compute() == pytest.approx(float(torch.exp(-(p * torch.log(p + 1e-10)).sum())), rel=1e-12)
    assert 2 < collector.compute() < CODES
