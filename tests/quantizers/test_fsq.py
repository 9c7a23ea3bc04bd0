"""FSQ: published constants and values, codes and gradient."""

from __future__ import annotations

from math import tan

import numpy as np
import pytest
import torch

import vqbench.functional as Q
from tests.support.quantizing import (
    as_map,
    pass_through,
    wave,
)
from vqbench import registry
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


def test_ifsq_equals_the_released_code() -> None:
    """Values, codes and gradient of four features are those of iFSQ's GroupFSQ (commit e78bd708), run in float64.

    Its settings: levels [7, 5], do_simple_bound, act_fun scale_sigmoid_16; gradient of the sum of z_q times wave(200).
    """
    quantizer = pass_through(FSQ(35, 2, levels="7x5", bound="sigmoid").double())
    z = as_map(2 * wave(4, 2, 1)).requires_grad_()
    out = quantizer(z)
    (out.z_q * as_map(wave(4, 2, 200))).sum().backward()
    assert out.codes.flatten().tolist() == [13, 21, 6, 29]
    expected = [1, -0.5, -1, 0.5, 1, -1, -2 / 3, 1]
    assert Q.flatten(out.z_q, 2).flatten().tolist() == pytest.approx(expected, abs=1e-12)
    gradient = [0.08025835, 0.45520471, -0.12304217, -0.20718351, 0.20134879, 0.05987176, -0.34031940, 0.00752458]
    assert z.grad is not None
    assert Q.flatten(z.grad, 2).flatten().tolist() == pytest.approx(gradient, abs=1e-8)


def test_ifsq_is_its_formula() -> None:
    """round((2/(1 + exp(-1.6z)) - 1)(L - 1)/2)/floor(L/2) in NumPy, for a thousand features."""
    quantizer = pass_through(FSQ(512, 3, levels="11x9x5", bound="sigmoid").double())
    z = 3 * wave(1000, 3, 5)
    levels = np.array([11, 9, 5])
    expected = np.round((2 / (1 + np.exp(-1.6 * z.numpy())) - 1) * (levels - 1) / 2) / (levels // 2)
    np.testing.assert_allclose(Q.flatten(quantizer(as_map(z)).z_q, 3).detach(), expected, atol=1e-12)


@pytest.mark.parametrize(("bound", "bits"), [("sigmoid", 4.017), ("tanh", 4.056)])
def test_levels_of_ifsq_are_less_even_for_normal_features(bound: str, bits: float) -> None:
    """The entropy of 17 levels under N(0, 1), at its quantiles, is that of the exact shares, computed with erf."""
    quantizer = pass_through(FSQ(17, 1, levels="17", bound=bound).double())  # type: ignore[arg-type]
    z = torch.special.ndtri((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000)
    share = torch.bincount(quantizer(z.view(1, 1, 1, -1)).codes.flatten(), minlength=17) / len(z)
    assert -(share * share.log2()).sum().item() == pytest.approx(bits, abs=1e-3)


def test_ifsq_wants_odd_levels() -> None:
    """An even number of levels raises UsageError; without levels, the product of odd ones is within the budget."""
    with pytest.raises(UsageError, match="odd levels like 9x9x5, not '8x8x8'"):
        FSQ(512, 4, levels="8x8x8", bound="sigmoid")
    for num_codes in (3, 4, 20, 64, 512, 1024, 65536):
        levels = Q.odd_levels(num_codes)
        assert all(count % 2 for count in levels)
        assert num_codes / 2 < np.prod(levels) <= num_codes
    assert Q.odd_levels(83521) == (17, 17, 17, 17)
    with pytest.raises(UsageError, match="at least 3 for odd levels"):
        FSQ(2, 4, bound="sigmoid")


def test_the_default_bound_is_no_part_of_a_key() -> None:
    """Runs from before the argument keep their key: only another bound than tanh is named."""
    budget = {"num_codes": 512, "dim": 4}
    before = {"levels": None, "epsilon": 1e-3}
    assert registry.resolve("quantizers", "fsq", {}, budget).args == {**budget, **before}
    assert registry.resolve("quantizers", "ifsq", {}, budget).args == {**budget, **before, "bound": "sigmoid"}
