"""The entropy of codes in bits, of one codebook and of an image."""

from __future__ import annotations

import pytest

from vqbench.errors import UsageError
from vqbench.functional.code_entropy import entropy_bits, image_entropy_bits


def test_entropy_in_bits_is_the_closed_form() -> None:
    """Eight codes used alike cost 3 bits, shares of ½, ¼ and two eighths 1.75, and one code alone nothing."""
    assert entropy_bits([5] * 8 + [0] * 4) == pytest.approx(3.0)
    assert entropy_bits([4, 2, 1, 1]) == pytest.approx(1.75)
    assert entropy_bits([7, 0]) == 0.0
    for bad in ([0, 0], [-1, 2], [[1, 2]]):
        with pytest.raises(UsageError, match="at least one code"):
            entropy_bits(bad)


def test_each_depth_counts_its_own_codes() -> None:
    """One cell of 1 bit and 49 positions of 2 bits are 99 bits per image."""
    assert image_entropy_bits([[3, 3, 0, 0], [2, 2, 2, 2]], [1, 49]) == pytest.approx(99)
