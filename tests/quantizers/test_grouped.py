"""Grouped: the product codebook, written out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import vqbench.functional as Q
from tests.support.quantizing import (
    DIM,
    feature_map,
)
from vqbench.errors import UsageError
from vqbench.quantizers.grouped import Grouped


@pytest.mark.parametrize("shared", [False, True])
def test_grouped_is_the_nearest_of_all_combinations(shared: bool) -> None:
    """The chunks' codes are the nearest of the product codebook, written out; the loss is VQ's on whole vectors."""
    quantizer = Grouped(9, DIM, groups=2, shared=shared)
    assert quantizer.num_codes == 3
    nn.init.normal_(quantizer.codebook)
    z = feature_map()
    out = quantizer(z)
    first, second = quantizer.codebooks()
    product = torch.cat([first.repeat_interleave(3, 0), second.repeat(3, 1)], 1)  # (9, DIM)
    chosen = torch.cdist(Q.flatten(z, DIM), product).argmin(1)
    assert torch.equal(out.codes.flatten(0, 2) @ torch.tensor([3, 1]), chosen)
    torch.testing.assert_close(Q.flatten(out.z_q, DIM), product[chosen])
    torch.testing.assert_close(out.loss, 1.25 * (Q.flatten(z, DIM) - product[chosen]).square().mean())


def test_grouped_wants_groups_that_fit() -> None:
    """More groups than channels, or a shared codebook for unequal chunks, raise UsageError."""
    with pytest.raises(UsageError, match="7 groups need at least as many channels, not 6"):
        Grouped(512, DIM, groups=7)
    with pytest.raises(UsageError, match="divide 6, not 4"):
        Grouped(512, DIM, groups=4, shared=True)
