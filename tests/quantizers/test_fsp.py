"""FSP: noise as wide as a bin in training, the middles of bins in evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vqbench.functional as Q
from tests.support.quantizing import as_map, pass_through, wave
from vqbench.errors import UsageError
from vqbench.quantizers.fsp import FSP, Activation

try:
    from vector_quantize_pytorch.finite_scalar_perturbation import FSP as Peer
except ImportError:
    Peer = None

NOISE, MASK = (wave(4, 2, 300) + 1) / 2, (wave(4, 2, 400) + 1) / 2  # uniform numbers


def fed(quantizer: FSP, z: Tensor, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The output of a training step whose random numbers are NOISE and MASK."""
    draws = iter([NOISE, MASK])
    monkeypatch.setattr(Q, "feature_uniform", lambda *shape, device: next(draws), raising=False)
    return quantizer(z)


def test_fsp_equals_the_released_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Values, codes, loss and gradient are those of FSP in vector-quantize-pytorch 1.32.0, run in float64.

    Its settings: levels [7, 4], tanh, quantize_rate 0.5, vector_norm kurt, and rand_like replaced by NOISE and MASK.
    The class of the authors (zhai-lw/vp-vae, commit 2ae367dc) has the same formulas.
    """
    quantizer = pass_through(FSP(28, 2, levels="7x4", quantize_rate=0.5, norm="kurt").double())
    z = as_map(2 * wave(4, 2, 1)).requires_grad_()
    out = fed(quantizer, z, monkeypatch)
    ((out.z_q * as_map(wave(4, 2, 200))).sum() + out.loss).backward()
    assert out.codes.flatten().tolist() == [13, 21, 6, 21]
    assert out.loss.item() == pytest.approx(0.575881825648225, abs=1e-12)
    z_q = [1.66767166, -0.65497525, -1.48461498, 1.25812792, 1.59558568, -1.29903811, -1.48461498, 1.62407625]
    assert Q.flatten(out.z_q, 2).flatten().tolist() == pytest.approx(z_q, abs=1e-8)
    gradient = [0.32096779, 0.84093588, -0.37641780, -0.26757218, 0.45211048, 0.02829166, -0.68454583, 0.07135911]
    assert z.grad is not None
    assert Q.flatten(z.grad, 2).flatten().tolist() == pytest.approx(gradient, abs=1e-8)
    middles = [1.48461498, -0.43301270, -1.48461498, 1.29903811, 1.48461498, -1.29903811, -1.48461498, 1.29903811]
    assert Q.flatten(quantizer.eval()(z).z_q, 2).flatten().tolist() == pytest.approx(middles, abs=1e-8)


@pytest.mark.skipif(Peer is None, reason="vector-quantize-pytorch is not installed: pip install .[peers]")
@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "normal", "laplace", "cauchy"])
@pytest.mark.parametrize(("rate", "norm"), [(0.0, "var_tanh"), (0.5, "var"), (0.3, "var_sigmoid"), (1.0, "kurt")])
def test_fsp_draws_and_computes_as_its_peer(activation: Activation, rate: float, norm: Any) -> None:
    """From one seed, a training step of the package and ours are equal, for every activation and norm."""
    ours = pass_through(FSP(30, 3, levels="5x3x2", activation=activation, quantize_rate=rate, norm=norm))
    theirs, z = Peer([5, 3, 2], act_name=activation, quantize_rate=rate, vector_norm=norm), wave(40, 3, 3).float()
    torch.manual_seed(5)
    expected, codes, loss, _ = theirs(z)
    torch.manual_seed(5)
    out = ours(as_map(z))
    torch.testing.assert_close(Q.flatten(out.z_q, 3), expected, rtol=0, atol=1e-6)
    assert torch.equal(out.codes.flatten(), codes.long())
    torch.testing.assert_close(out.loss, loss, rtol=1e-5, atol=1e-6)


def test_fsp_noise_is_as_wide_as_a_bin_and_stays_inside() -> None:
    """In NumPy: û − u is uniform on ±1/(2L) where û stays in (0, 1), else 0, and û has the code's own scale."""
    quantizer = pass_through(FSP(5, 1, levels="5"))
    z = torch.linspace(-2, 2, 20_000)[:, None]
    torch.manual_seed(0)
    moved = Q.flatten(quantizer(as_map(z)).z_q, 1).detach().numpy() / np.sqrt(12) + 0.5
    u = (np.tanh(z.numpy()) + 1) / 2
    noise = moved - u
    assert ((moved > 0) & (moved < 1)).all()
    inside = (u > 0.1) & (u < 0.9)
    assert np.abs(noise).max() <= 0.1 + 1e-6
    assert np.abs(noise[inside]).max() > 0.0999
    assert noise[inside].std() == pytest.approx(0.2 / np.sqrt(12), rel=0.02)
    dropped = (np.abs(noise) < 1e-7)[~inside]
    assert 0.2 < dropped.mean() < 0.5


def test_fsp_codes_are_all_the_combinations() -> None:
    """Every code decodes to the middle of a bin of each channel, 6 bins first, and its middle has that code."""
    quantizer = pass_through(FSP(24, 2, levels="6x4").double()).eval()
    codes = torch.arange(24).view(1, 1, 24, 1)
    middles = Q.flatten(quantizer.decode(codes), 2) / 12**0.5 + 0.5
    digits = torch.stack([torch.arange(24) % 6, torch.arange(24) // 6], 1)
    torch.testing.assert_close(middles, (digits + 0.5) / torch.tensor([6.0, 4.0], dtype=torch.float64))
    assert torch.equal(quantizer(as_map(torch.atanh(2 * middles - 1))).codes, codes)
    assert quantizer(as_map(torch.full((1, 2), 50.0, dtype=torch.float64))).codes.item() == 23


def test_fsp_wants_levels_and_norms_that_it_knows() -> None:
    """Another norm, activation or text raises UsageError."""
    with pytest.raises(UsageError, match="unknown norm 'variance'"):
        FSP(64, 4, norm="variance")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unknown activation 'relu'"):
        FSP(64, 4, activation="relu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="like 8x5x5x5, not '8,5'"):
        FSP(64, 4, levels="8,5")
