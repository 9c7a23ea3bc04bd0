"""Multi-scale: grids, bits, resampling, and two scales by hand."""

from __future__ import annotations

from math import log2

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from vqbench.quantizers.multiscale import MultiScale, grids, resample


def test_multiscale_grids_and_bits() -> None:
    """Sides 8 and 7 have 85 and 70 cells; the bits count those, follow the size of training, and not of evaluation."""
    assert grids(4, 8, 7) == [(1, 1), (2, 2), (4, 4), (8, 7)]
    quantizer = MultiScale(512, 2, side=8)
    assert quantizer.num_codes == 110
    assert quantizer.bits == pytest.approx(85 / 64 * log2(110))
    quantizer.eval()(torch.randn(1, 2, 7, 7))
    assert quantizer.bits == pytest.approx(85 / 64 * log2(110))
    quantizer.train()(torch.randn(1, 2, 7, 7))
    assert quantizer.bits == pytest.approx(70 / 49 * log2(110))
    assert MultiScale(512, 2, side=7).num_codes == 79


@pytest.mark.parametrize(("size", "target"), [((7, 5), (4, 3)), ((8, 8), (2, 2)), ((3, 4), (1, 1))])
def test_multiscale_resampling_is_torchs(size: tuple[int, int], target: tuple[int, int]) -> None:
    """Averaging down is the adaptive mean, and going up the bicubic interpolation, of torch."""
    z = torch.randn(2, 3, *size)
    torch.testing.assert_close(resample(z, *target, "area"), F.adaptive_avg_pool2d(z, target))
    small = torch.randn(2, 3, *target)
    expected = F.interpolate(small, size, mode="bicubic")
    torch.testing.assert_close(resample(small, *size, "bicubic"), expected, atol=1e-5, rtol=1e-5)


def test_multiscale_by_hand() -> None:
    """With convolutions of zero every scale adds half its code: each takes the code nearest to the mean left."""
    quantizer = MultiScale(512, 1, scales=2, side=2, scale_codes=3)
    for conv in quantizer.convolutions:
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)
    quantizer.codebook.data.copy_(torch.tensor([[0.0], [2.0], [6.0]]))
    z = torch.tensor([[[[4.2, 6.0], [6.0, 5.0]]]])  # mean 5.3: code 2 (6), adds 3; left 1.2 3 3 2: code 1, adds 1
    out = quantizer(z)
    assert out.codes[..., 0].flatten().tolist() == [2, 2, 2, 2]
    assert out.codes[..., 1].flatten().tolist() == [1, 1, 1, 1]
    assert out.z_q.flatten().tolist() == pytest.approx([4, 4, 4, 4])
    errors = [(1.44 + 9 + 9 + 4) / 4, (0.04 + 4 + 4 + 1) / 4]
    assert out.loss.item() == pytest.approx(1.25 * sum(errors) / 2)


@pytest.mark.parametrize("side", [4, 7, 8])
def test_every_cell_is_a_code_of_the_image(side: int) -> None:
    """The codes of an image are the cells of its grids, and as many bits as ``bits`` says."""
    quantizer = MultiScale(512, 4, side=side)
    cells = quantizer.codes_per_image(side, side)
    assert cells[-1] == side**2
    assert sum(cells) * log2(quantizer.num_codes) == pytest.approx(quantizer.bits * side**2)
