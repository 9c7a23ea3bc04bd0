"""How a method with codes of another kind meets the suite's budget of ``num_codes`` codes a position."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import log, log2, prod

from vqbench.functional.shapes import require

# The sizes that the paper of finite scalar quantization tabulates (arXiv 2309.15505, table 1).
PUBLISHED_LEVELS = {
    2**8: (8, 6, 5),
    2**10: (8, 5, 5, 5),
    2**12: (7, 5, 5, 5, 5),
    2**14: (8, 8, 8, 6, 5),
    2**16: (8, 8, 8, 5, 5, 5),
}


def nearest_root(num_codes: int, depth: int) -> int:
    """The whole number of codes, at least 2, whose ``depth``-th power is nearest to ``num_codes`` in bits."""
    require(num_codes >= 1 and depth >= 1, f"num_codes and depth must be at least 1, not {num_codes} and {depth}")
    low = max(2, int(num_codes ** (1 / depth)))
    return min((low, low + 1), key=lambda codes: abs(depth * log2(codes) - log2(num_codes)))


def scalar_levels(num_codes: int) -> tuple[int, ...]:
    """Levels of each channel, the largest first, whose product is nearest to ``num_codes``.

    The published ones where the paper names them; else of 5 to 8 levels, as it advises, with fewer than 5 only where
    no such product comes within 5 % of the bits.
    """
    require(num_codes >= 2, f"num_codes must be at least 2 for scalar levels, not {num_codes}")
    if num_codes in PUBLISHED_LEVELS:
        return PUBLISHED_LEVELS[num_codes]
    most = max(1, round(log(num_codes) / log(5)) + 1)
    advised = [c for n in range(1, most + 1) for c in combinations_with_replacement(range(8, 4, -1), n)]
    best = min(advised, key=lambda levels: (_gap(levels, num_codes), len(levels)))
    if _gap(best, num_codes) <= 0.05:
        return best
    small = [c for n in range(1, 6) for c in combinations_with_replacement(range(8, 1, -1), n)]
    return min(small, key=lambda levels: (_gap(levels, num_codes), len(levels)))


def _gap(levels: tuple[int, ...], num_codes: int) -> float:
    """By what share the bits of ``levels`` miss those of ``num_codes``."""
    return abs(log2(prod(levels)) / log2(num_codes) - 1)
