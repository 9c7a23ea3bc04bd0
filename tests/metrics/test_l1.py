"""l1 is the mean absolute difference of numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.support.measured_batches import (
    batch_of,
    channels_last,
    colour,
    context,
    grey,
    metric,
)
from vqbench.images import differences
from vqbench.protocol import MEASURE


@pytest.mark.parametrize("protocol", MEASURE)
@pytest.mark.parametrize("images", [grey, colour])
def test_l1_equals_its_definition(images: Callable[[int], Tensor], protocol: str) -> None:
    """The value of each image is the mean absolute difference by numpy, to 1e-12."""
    batch = batch_of(images(12), protocol)
    pairs = zip(channels_last(batch.originals), channels_last(batch.reconstructions), strict=True)
    values = metric("l1", context(protocol)).update(batch)
    np.testing.assert_allclose(values, [np.abs(a - b).mean() for a, b in pairs], atol=1e-12)


@pytest.mark.parametrize("channels", [(3, 3), (1, 3), (3, 1), (1, 1)])
def test_differences_are_those_of_float64(channels: tuple[int, int]) -> None:
    """Converted a few images at a time, differences are bit for bit those of two float64 copies, grey or not."""
    draw = torch.Generator().manual_seed(0)
    x, y = (torch.rand(30, count, 130, 128, generator=draw) for count in channels)  # several pieces
    assert torch.equal(differences(x, y), x.double() - y.double())
    assert torch.equal(differences(x.expand(-1, 3, -1, -1), y), x.double() - y.double())
