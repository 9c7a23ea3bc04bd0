"""SQ-VAE: golden values, variance, temperature, objective and samples."""

from __future__ import annotations

import pytest
import torch

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    NUM_CODES,
    TOY,
    TOY_CODES,
    TOY_IMAGE,
    cold_sample,
    double,
    feature_map,
)
from vqbench.quantizers.sqvae import SQVAE


@pytest.mark.parametrize(
    ("scale", "posterior", "entropy"),
    [
        (10, [[0.308081, 0.369511, 0.322408], [0.400319, 0.333767, 0.265914]], -2.180515),
        (20, [[0.320101, 0.352085, 0.327814], [0.368151, 0.334707, 0.297141]], -2.192594),
    ],
)
def test_sqvae_posterior_on_the_toy(scale: float, posterior: list[list[float]], entropy: float) -> None:
    """Posterior (by the quantizer's own precision), codes 1 and 0, and the latent loss Σ q ln q plus the gap."""
    quantizer = SQVAE(3, 2, scale=scale).double().eval()
    quantizer.codebook.data.copy_(TOY_CODES)
    logits = -quantizer.precision / 2 * Q.squared_distances(TOY, quantizer.codebook)
    torch.testing.assert_close(logits.softmax(1), double(posterior), atol=1e-6, rtol=0)
    out = quantizer(TOY_IMAGE)
    assert out.codes.flatten().tolist() == [1, 0]
    gap = (1 + 1) / (2 * (1 + scale))  # (1, 2) - (1, 1) and (0, -1) - (0, 0): squared error 1 each
    assert out.loss.item() == pytest.approx(entropy + gap, abs=2e-6)


def test_sqvae_variance_starts_as_published() -> None:
    """σ² starts at 11 for exp(s) = 10, and at 21 for exp(s) = 20."""
    assert (1 / SQVAE(4, 2).precision).item() == pytest.approx(11)
    assert (1 / SQVAE(4, 2, scale=20.0).precision).item() == pytest.approx(21)


def test_sqvae_temperature() -> None:
    """By progress it ends where 156,300 updates end, 0.2095; literally it is exp(−1e-5·t), and t is in the state."""
    rescaled, literal = SQVAE(4, 2), SQVAE(4, 2, anneal_steps=None)
    rescaled.anneal(1.0)
    assert rescaled.temperature.item() == pytest.approx(0.2095, abs=5e-5)
    rescaled.anneal(0.0)
    assert rescaled.temperature.item() == 1
    for _ in range(3):
        literal.anneal(0.9)
    assert literal.temperature.item() == pytest.approx(0.99997, abs=1e-7)
    resumed = SQVAE(4, 2, anneal_steps=None)
    resumed.load_state_dict(literal.state_dict())
    resumed.anneal(0.9)
    assert resumed.temperature.item() == pytest.approx(0.99996, abs=1e-7)


def test_sqvae_objective_is_a_log_likelihood() -> None:
    """The objective is (P/2)·ln(P·error) + loss, and the protocol's weight does not enter."""
    quantizer = SQVAE(NUM_CODES, DIM)
    out = quantizer(feature_map())
    expected = 392 * torch.tensor(784 * 0.05).log() + out.loss
    for weight in (1.0, 10.5):
        torch.testing.assert_close(quantizer.objective(torch.tensor(0.05), out, 784, weight=weight), expected)


def test_a_cold_relaxed_sample_is_a_draw_from_the_posterior() -> None:
    """As the temperature nears zero, z_q is one code vector, drawn with the posterior's probabilities."""
    torch.manual_seed(0)
    quantizer = SQVAE(3, 2)
    share, near = cold_sample(quantizer, temperature=1e-4)
    distance = quantizer.codebook.detach().square().sum(1)
    torch.testing.assert_close(share, (-quantizer.precision.detach() / 2 * distance).softmax(0), atol=0.02, rtol=0)
    assert near > 0.99
