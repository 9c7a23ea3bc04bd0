"""MS-SSIM is that of pytorch-msssim."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
from pytorch_msssim import ms_ssim
from torch import Tensor

from tests.support.measured_batches import batch_of, context, metric
from vqbench.errors import RunError


def crops(side: int) -> Tensor:
    """Crops of photographs, (3, 3, side, side) in [-1, 1]."""
    photographs = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    pixels = torch.stack([torch.from_numpy(each[40 : 40 + side, 60 : 60 + side].copy()) for each in photographs])
    return (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


@pytest.mark.parametrize("protocol", ["official", "clean"])
@pytest.mark.parametrize("side", [176, 256])
def test_ms_ssim_equals_pytorch_msssim(side: int, protocol: str) -> None:
    """Per image, MS-SSIM is the package's of data range 1, given float64, to 3e-6: its window is rounded to float32."""
    batch = batch_of(crops(side), protocol)
    expected = ms_ssim(batch.originals.double(), batch.reconstructions.double(), data_range=1.0, size_average=False)
    values = metric("ms_ssim", context(protocol)).update(batch)
    np.testing.assert_allclose(values, expected, atol=3e-6)
    assert 0.5 < values.min() < values.max() < 0.999  # nothing trivial was compared


def test_what_is_anticorrelated_counts_as_nothing() -> None:
    """An image against its negative has the value 0, as a root of a negative number does not exist."""
    batch = batch_of(crops(176), "clean")
    batch.reconstructions = 1 - batch.originals
    assert metric("ms_ssim").update(batch).tolist() == [0.0] * 3


def test_ms_ssim_refuses_images_without_a_fifth_scale() -> None:
    """An image of 175 pixels, which the window does not fit at the coarsest scale, is a clear error."""
    with pytest.raises(RunError, match="at least 176x176 pixels, these are 175x176"):
        metric("ms_ssim").update(batch_of(crops(176)[:, :, :175], "clean"))
