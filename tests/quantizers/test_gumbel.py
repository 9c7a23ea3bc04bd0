"""Gumbel-softmax: divergence, temperature and samples."""

from __future__ import annotations

from math import log, sqrt

import pytest
import torch
from torch import nn

from vqbench.quantizers.gumbel import Gumbel


def test_gumbel_kl_and_temperature() -> None:
    """The KL is 0 for equal logits and ln K for a sure one; the temperature is half a cosine from 1 to 1/16."""
    quantizer = Gumbel(8, 2, kl=2.0)
    nn.init.zeros_(quantizer.logits.weight)
    nn.init.zeros_(quantizer.logits.bias)
    z = torch.randn(2, 2, 3, 3)
    assert quantizer(z).loss.item() == pytest.approx(0, abs=1e-6)
    quantizer.logits.bias.data[3] = 100.0
    assert quantizer(z).loss.item() == pytest.approx(2 * log(8), rel=1e-5)
    assert (quantizer.eval()(z).codes == 3).all()
    seen = []
    for progress in (0, 0.25, 0.5, 1):
        quantizer.anneal(progress)
        seen.append(quantizer.temperature.item())
    assert seen == pytest.approx([1, 0.0625 + 0.9375 * (1 + sqrt(0.5)) / 2, 0.53125, 0.0625])


def test_gumbel_samples_by_its_logits() -> None:
    """Cold, z_q is one code vector, drawn with the softmax of the logits, wherever the codes lie."""
    torch.manual_seed(0)
    quantizer = Gumbel(3, 2)
    nn.init.zeros_(quantizer.logits.weight)
    quantizer.logits.bias.data.copy_(torch.tensor([0.1, 0.6, 0.3]).log())
    quantizer.temperature.fill_(1e-4)
    out = quantizer(torch.zeros(1, 2, 100, 100))
    share = torch.bincount(out.codes.flatten(), minlength=3) / 1e4
    torch.testing.assert_close(share, torch.tensor([0.1, 0.6, 0.3]), atol=0.02, rtol=0)
    close = (out.z_q - quantizer.decode(out.codes)).abs().amax(1) < 1e-3
    assert close.float().mean() > 0.99
