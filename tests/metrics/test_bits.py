"""Bits are positions times bits per position."""

from __future__ import annotations

import torch

from tests.support.measured_batches import (
    context,
    metric,
)
from vqbench.metric import Batch


def test_bits_are_positions_times_bits_per_position() -> None:
    """A 7x7 map at 9 bits costs 441 bits; the depth is part of the bits per position, not counted again."""
    collector = metric("bits", context(num_codes=512, bits=9.0))
    collector.update(
        Batch(torch.zeros(3, 1, 28, 28), torch.zeros(3, 1, 28, 28), torch.zeros(3, 7, 7, 1).long(), torch.arange(3))
    )
    assert collector.compute() == 441
    collector.start(context(num_codes=512, bits=18.0))
    collector.update(
        Batch(torch.zeros(3, 1, 28, 28), torch.zeros(3, 1, 28, 28), torch.zeros(3, 7, 7, 2).long(), torch.arange(3))
    )
    assert collector.compute() == 882
