"""PSNR is that of scikit-image."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor

from tests.support.measured_batches import (
    batch_of,
    channels_last,
    colour,
    context,
    grey,
    metric,
)
from vqbench.protocol import MEASURE


@pytest.mark.parametrize("protocol", MEASURE)
@pytest.mark.parametrize("images", [grey, colour])
def test_psnr_equals_scikit_image(images: Callable[[int], Tensor], protocol: str) -> None:
    """The value of each image is that of scikit-image, to 1e-9."""
    batch = batch_of(images(12), protocol)
    pairs = zip(channels_last(batch.originals), channels_last(batch.reconstructions), strict=True)
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in pairs]
    np.testing.assert_allclose(metric("psnr", context(protocol)).update(batch), expected, atol=1e-9)


def test_psnr_without_any_error_is_infinite() -> None:
    """One perfect reconstruction makes its PSNR, and so the mean, infinite, not NaN and not some large number."""
    batch = batch_of(grey(3))
    batch.reconstructions[1] = batch.originals[1]
    collector = metric("psnr")
    values = collector.update(batch)
    assert values is not None
    assert torch.isinf(values).tolist() == [False, True, False]
    assert collector.compute() == math.inf
