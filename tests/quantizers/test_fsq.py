"""FSQ: published constants and values, codes and gradient."""

from __future__ import annotations

from math import tan

import pytest
import torch

import vqbench.functional as Q
from tests.support.quantizing import (
    as_map,
    pass_through,
)
from vqbench.errors import UsageError
from vqbench.quantizers.fsq import FSQ


@pytest.mark.parametrize(
    ("count", "reach", "offset", "shift", "expected"),
    [
        (5, 1.998, 0, 0, [-1, -0.5, 0, 0.5, 1]),
        (6, 2.4975, 0.5, 0.202918, [-1, -1 / 3, 0, 1 / 3, 2 / 3]),
        (7, 2.997, 0, 0, [-1, -1 / 3, 0, 1 / 3, 1]),
        (8, 3.4965, 0.5, 0.143983, [-1, -0.5, 0, 0.25, 0.75]),
    ],
)
def test_fsq_rounds_as_published(count: int, reach: float, offset: float, shift: float, expected: list[float]) -> None:
    """Constants of a channel of 5 to 8 levels, and its outputs for −3, −0.5, 0, 0.5 and 3."""
    quantizer = pass_through(FSQ(512, 1, levels=str(count)))
    constants = [quantizer.reach.item(), quantizer.offset.item(), quantizer.shift.item()]
    assert constants == pytest.approx([reach, offset, shift], abs=1e-6)
    z_q = quantizer(as_map(torch.tensor([[-3.0], [-0.5], [0.0], [0.5], [3.0]]))).z_q
    assert z_q.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_fsq_codes_are_all_the_combinations() -> None:
    """Every code decodes to levels of its own, that spell it in mixed radix: 7 levels first, then 5, then 2."""
    quantizer = pass_through(FSQ(512, 3, levels="7x5x2"))
    codes = torch.arange(70).view(1, 1, 70, 1)
    values = Q.flatten(quantizer.decode(codes), 3)
    digits = (values * torch.tensor([3, 2, 1]) + torch.tensor([3, 2, 1])).round().long()
    assert torch.equal(digits @ torch.tensor([1, 7, 35]), torch.arange(70))
    assert (digits.amin(0).tolist(), digits.amax(0).tolist()) == ([0, 0, 0], [6, 4, 1])
    inside = quantizer.reach - 0.01
    y = torch.clamp(digits - torch.tensor([3, 2, 1]) + quantizer.offset, -inside, inside)
    wanted = torch.atanh(y / quantizer.reach) - quantizer.shift
    assert torch.equal(quantizer(as_map(wanted)).codes, codes)


def test_fsq_gradient_is_that_of_the_bounding() -> None:
    """The gradient passes the rounding: d tanh(z + shift)·reach / ⌊L/2⌋."""
    quantizer = pass_through(FSQ(512, 1, levels="8"))
    z = torch.tensor([[0.4]]).requires_grad_()
    quantizer(as_map(z)).z_q.sum().backward()
    reach = 7 * 0.999 / 2
    assert z.grad is not None
    assert z.grad.item() == pytest.approx((1 - torch.tensor(0.4 + tan(0.5 / reach)).tanh().item() ** 2) * reach / 4)


def test_fsq_wants_levels_that_read_like_levels() -> None:
    """Words and single levels raise UsageError."""
    with pytest.raises(UsageError, match="like 8x5x5x5, not '8,5'"):
        FSQ(512, 4, levels="8,5")
    with pytest.raises(UsageError, match="at least 2 levels"):
        FSQ(512, 4, levels="8x1")
