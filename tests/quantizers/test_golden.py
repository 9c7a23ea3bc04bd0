"""Values computed in advance with the methods' released code, in float64, on toys small enough to check by hand."""

from __future__ import annotations

from math import exp
from typing import Any

import pytest
import torch
from torch import Tensor

import vqbench.functional as Q
from vqbench.functional.contrastive import contrast
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.hvq import HVQ
from vqbench.quantizers.sqvae import SQVAE
from vqbench.quantizers.vq import VQ


def double(values: list[list[float]]) -> Tensor:
    """A float64 matrix."""
    return torch.tensor(values, dtype=torch.float64)


CODEBOOK = double([[0.5, 0.1], [-0.3, 0.4], [0.2, -0.6], [3, 3]])
FEATURES = double([[0.4, 0.2], [-0.2, 0.5], [0.1, -0.7], [0.6, -0.1]])
IMAGE = FEATURES.T.reshape(1, 2, 2, 2)  # one image of 2 x 2 positions, in raster order

TOY = double([[1, 2], [0, -1]])  # two features
TOY_CODES = double([[0, 0], [1, 1], [-1, 2]])
TOY_IMAGE = TOY.T.reshape(1, 2, 1, 2)


@pytest.mark.parametrize("distance", ["l2", "cosine"])
def test_vq_on_the_toy(distance: Any) -> None:
    """Codes 0, 1, 2, 0, loss 0.0171875 and perplexity 2.828427, the same under both distances."""
    quantizer = VQ(4, 2, distance=distance).double()
    quantizer.codebook.data.copy_(CODEBOOK)
    out = quantizer(IMAGE)
    assert out.codes.flatten().tolist() == [0, 1, 2, 0]
    assert out.loss.item() == pytest.approx(0.0171875, abs=1e-12)
    assert out.logs["perplexity"].item() == pytest.approx(2.828427, abs=1e-6)


@pytest.mark.parametrize("contrastive", [False, True])
@pytest.mark.parametrize(("distance", "with_term"), [("l2", 0.017242158), ("cosine", 0.017278025)])
def test_cvq_first_step_on_the_toy(distance: Any, with_term: float, contrastive: bool) -> None:
    """Loss with and without the contrastive term, usage, and the codebook after the first relocation, to six digits."""
    quantizer = CVQ(4, 2, distance=distance, anchor="closest", contrastive=contrastive).double()
    quantizer.codebook.data.copy_(CODEBOOK)
    out = quantizer(IMAGE)
    assert out.codes.flatten().tolist() == [0, 1, 2, 0]
    assert out.loss.item() == pytest.approx(with_term if contrastive else 0.0171875, abs=5e-10)
    assert out.logs["perplexity"].item() == pytest.approx(2.828427, abs=1e-6)
    assert quantizer.usage.tolist() == pytest.approx([0.005, 0.0025, 0.0025, 0], abs=1e-12)
    moved = quantizer.codebook.detach()
    assert moved[3].tolist() == pytest.approx([0.402599, 0.202799], abs=1e-6)
    assert moved[0].tolist() == pytest.approx([0.5, 0.1], abs=5e-7)
    assert (moved[1:3] - CODEBOOK[1:3]).abs().amax(1).tolist() == pytest.approx([4.5e-6, 4.5e-6], rel=0.02)


def test_contrastive_term_of_a_given_similarity_matrix() -> None:
    """N = 10, K = 3: three positives, five negatives, and the losses of the three codes."""
    i, k = torch.arange(10, dtype=torch.float64), torch.arange(3, dtype=torch.float64)
    s = 0.1 * torch.cos(0.7 * i + 1.3 * k[:, None])  # (K, N)
    losses, _ = contrast(s, torch.eye(10, dtype=torch.float64), num_codes=3, temperature=0.07)
    assert losses.tolist() == pytest.approx([0.55471751, 0.58674307, 0.44604083], abs=5e-9)
    assert losses.mean().item() == pytest.approx(0.529167136, abs=5e-10)


def relocation(quantizer: CVQ, codes: Tensor) -> Tensor:
    """α (K,) of one relocation after ``codes`` were chosen: how far codes at 0 go towards anchors at 1."""
    quantizer.codebook.data.zero_()
    quantizer.relocate(torch.ones(len(codes), 1, dtype=torch.float64), codes)
    return quantizer.codebook.detach()[:, 0].clone()


@pytest.mark.parametrize(
    ("relative_usage", "alpha", "tolerance"),
    [
        (0, 0.9990, 5e-5),
        (1e-4, 0.904, 5e-4),
        (7e-4, 0.496, 5e-4),
        (1e-3, 0.368, 5e-4),
        (1e-2, 4.5e-5, 5e-7),
        (0.1, 0, 4e-44),
    ],
)
def test_relocation_strength(relative_usage: float, alpha: float, tolerance: float) -> None:
    """α at the published table's usages, relative to uniform, after the step's update of the usage."""
    quantizer = CVQ(512, 1, distance="l2", anchor="random", contrastive=False).double()
    quantizer.usage.fill_(relative_usage / 512 / 0.99)
    strength = relocation(quantizer, torch.zeros(8, dtype=torch.int64))
    assert strength[1:].tolist() == pytest.approx([alpha] * 511, abs=tolerance)


@pytest.mark.parametrize(("relative_usage", "steps"), [(1.0, 724), (0.1, 495), (0.01, 266)])
def test_revival_latency(relative_usage: float, steps: int) -> None:
    """A code that falls silent passes α = 0.5 after so many steps."""
    quantizer = CVQ(2, 1, distance="l2", anchor="random", contrastive=False).double()
    quantizer.usage[1] = relative_usage / 2
    codes = torch.zeros(2, dtype=torch.int64)
    count = 1
    while relocation(quantizer, codes)[1] <= 0.5 and count < 2000:
        count += 1
    assert count == steps


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
