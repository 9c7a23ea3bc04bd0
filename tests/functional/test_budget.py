"""Structured codes meet the budget of the suite."""

from __future__ import annotations

from math import log2, prod

import vqbench.functional as Q


def test_scalar_levels_are_the_published_ones_or_near() -> None:
    """The paper's table, 8x8x8 for 512, and within 5 % of the bits for every size from 5 to 5,000."""
    published = {256: (8, 6, 5), 1024: (8, 5, 5, 5), 4096: (7, 5, 5, 5, 5), 2**14: (8, 8, 8, 6, 5)}
    assert {codes: Q.scalar_levels(codes) for codes in published} == published
    assert [Q.scalar_levels(codes) for codes in (512, 24, 125)] == [(8, 8, 8), (5, 5), (5, 5, 5)]
    for codes in (*range(5, 100), 200, 333, 700, 2000, 5000):
        assert abs(log2(prod(Q.scalar_levels(codes))) / log2(codes) - 1) < 0.05, codes


def test_nearest_root() -> None:
    """512 codes are 3 levels of 8, 2 of 23 and 4 of 5; a level has never fewer than 2."""
    assert [Q.nearest_root(512, depth) for depth in (1, 2, 3, 4, 9, 20)] == [512, 23, 8, 5, 2, 2]
