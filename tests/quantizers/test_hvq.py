"""HVQ: golden values, resets, temperature, objective and samples."""

from __future__ import annotations

from math import exp

import pytest
import torch

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    TOY,
    TOY_CODES,
    TOY_IMAGE,
    cold_sample,
    double,
    feature_map,
)
from vqbench.quantizers.hvq import HVQ


def test_hvq_terms_on_the_toy() -> None:
    """KL 1.831614 and commitment 2.281456, each by itself; the posterior's argmax as codes."""
    for weights, expected in (({"kl": 1.0, "commitment": 0.0}, 1.831614), ({"kl": 0.0, "commitment": 1.0}, 2.281456)):
        quantizer = HVQ(3, 2, **weights).double().eval()
        quantizer.codebook.data.copy_(TOY_CODES)
        out = quantizer(TOY_IMAGE)
        assert out.codes.flatten().tolist() == [1, 0]
        assert out.loss.item() == pytest.approx(expected, abs=1e-6)
    posterior = (-Q.squared_distances(TOY, TOY_CODES)).softmax(1)
    expected_posterior = double([[0.017148, 0.936240, 0.046613], [0.981895, 0.017984, 0.000121]])
    torch.testing.assert_close(posterior, expected_posterior, atol=1e-6, rtol=0)


def test_hvq_kl_of_certain_posteriors_is_ln_k_a_position() -> None:
    """One-hot posteriors cost ln K for every position of an image, and no posterior costs less than zero."""
    quantizer = HVQ(5, 2, kl=1.0, commitment=0.0).double().eval()
    quantizer.codebook.data.copy_(100 * torch.eye(5, 2) + 200 * torch.arange(5)[:, None])
    z = Q.look_up(torch.arange(5).repeat(24).view(2, 6, 10, 1), quantizer.codebook.detach())
    assert exp(quantizer(z).loss.item() / 60) == pytest.approx(5, rel=1e-6)
    quantizer.codebook.data.zero_()
    assert quantizer(z).loss.item() == pytest.approx(0, abs=1e-6)


def test_hvq_resets_a_starved_code_onto_the_most_used_one() -> None:
    """At the check, and only then, the least used code becomes the most used one plus little noise, counts zero."""
    quantizer = HVQ(3, 2, reset_every=2)
    book = torch.tensor([[5.0, 5.0], [0.0, 0.0], [90.0, 90.0]])
    quantizer.codebook.data.copy_(book)
    z = torch.tensor([[5.0, 5.0]] * 5 + [[0.0, 0.0]] * 3).T.reshape(1, 2, 2, 4)
    quantizer(z)
    assert torch.equal(quantizer.codebook, book)
    assert quantizer.counts.tolist() == [5, 3, 0]
    quantizer(z)
    assert torch.equal(quantizer.codebook[:2], book[:2])
    assert 0 < (quantizer.codebook[2] - book[0]).abs().max() < 0.06
    assert quantizer.counts.tolist() == [0, 0, 0]


def test_hvq_keeps_codes_that_are_used_enough() -> None:
    """No code moves where the least used one has more than the threshold's share of the most used one."""
    quantizer = HVQ(2, 2, reset_every=1)
    book = torch.tensor([[5.0, 5.0], [0.0, 0.0]])
    quantizer.codebook.data.copy_(book)
    quantizer(torch.tensor([[5.0, 5.0]] * 3 + [[0.0, 0.0]]).T.reshape(1, 2, 2, 2))
    assert torch.equal(quantizer.codebook, book)


def test_hvq_temperature_is_linear() -> None:
    """The temperature goes from 0.667 to 0.001 in proportion to the progress."""
    quantizer = HVQ(4, 2)
    seen = []
    for progress in (0, 0.5, 1):
        quantizer.anneal(progress)
        seen.append(quantizer.temperature.item())
    assert seen == pytest.approx([0.667, 0.334, 0.001])


def test_hvq_objective_divides_by_the_pixels() -> None:
    """The objective is weight·error + loss/pixels."""
    quantizer = HVQ(4, DIM)
    out = quantizer(feature_map())
    expected = 10 * 0.3 + out.loss / 784
    torch.testing.assert_close(quantizer.objective(torch.tensor(0.3), out, 784, weight=10.0), expected)


def test_a_cold_relaxed_sample_is_a_draw_from_the_posterior() -> None:
    """As the temperature nears zero, z_q is one code vector, drawn with the posterior's probabilities."""
    torch.manual_seed(0)
    quantizer = HVQ(3, 2)
    share, near = cold_sample(quantizer, temperature=0.001)
    distance = quantizer.codebook.detach().square().sum(1)
    torch.testing.assert_close(share, (-distance).softmax(0), atol=0.02, rtol=0)
    assert near > 0.99
