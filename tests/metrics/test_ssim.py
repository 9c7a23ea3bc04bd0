"""SSIM is that of scikit-image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from skimage.metrics import structural_similarity
from torch import Tensor

from tests.support.measured_batches import (
    batch_of,
    channels_last,
    colour,
    context,
    grey,
    metric,
)
from vqbench.errors import RunError
from vqbench.protocol import MEASURE


@pytest.mark.parametrize("protocol", MEASURE)
@pytest.mark.parametrize("images", [grey, colour])
def test_ssim_equals_scikit_image(images: Callable[[int], Tensor], protocol: str) -> None:
    """Per image, SSIM is scikit-image's of the protocol's window, to 1e-9, on grey and colour alike."""
    own = {
        "official": {"gaussian_weights": False, "use_sample_covariance": True},
        "clean": {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False},
    }[protocol]
    batch = batch_of(images(12), protocol)
    assert batch.originals.shape[1] == (1 if protocol == "clean" and images is grey else 3)
    pairs = zip(channels_last(batch.originals), channels_last(batch.reconstructions), strict=True)
    expected = [structural_similarity(a, b, channel_axis=-1, data_range=1, win_size=11, **own) for a, b in pairs]
    values = metric("ssim", context(protocol)).update(batch)
    np.testing.assert_allclose(values, expected, atol=1e-9)
    assert 0.3 < values.min() < values.max() < 0.999  # nothing trivial was compared


def test_ssim_refuses_images_smaller_than_its_window() -> None:
    """A 10-pixel image, on which no window fits, is a clear error and no NaN."""
    with pytest.raises(RunError, match="at least 11x11 pixels, these are 10x28"):
        metric("ssim").update(batch_of(grey(2)[:, :, :10]))
