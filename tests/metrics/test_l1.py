"""l1 is the mean absolute difference of numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
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
def test_l1_equals_its_definition(images: Callable[[int], Tensor], protocol: str) -> None:
    """The value of each image is the mean absolute difference by numpy, to 1e-12."""
    batch = batch_of(images(12), protocol)
    pairs = zip(channels_last(batch.originals), channels_last(batch.reconstructions), strict=True)
    values = metric("l1", context(protocol)).update(batch)
    np.testing.assert_allclose(values, [np.abs(a - b).mean() for a, b in pairs], atol=1e-12)
