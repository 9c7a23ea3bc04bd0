"""Fit codes of another kind to the suite's ``num_codes`` codes per position."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import log, log2, prod

from vqbench.functional.shapes import require

# Table 1 of "Finite Scalar Quantization" (arXiv 2309.15505).
PUBLISHED_LEVELS = {
    2**8: (8, 6, 5),
    2**10: (8, 5, 5, 5),
    2**12: (7, 5, 5, 5, 5),
    2**14: (8, 8, 8, 6, 5),
    2**16: (8, 8, 8, 5, 5, 5),
}


def nearest_root(num_codes: int, depth: int) -> int:
    """Return the integer whose ``depth``-th power is nearest to ``num_codes``.

    Nearest in bits, and at least 2.

    Raises UsageError if either argument is below 1.

    >>> nearest_root(512, 2)
    23
    """
    require(num_codes >= 1 and depth >= 1, f"num_codes and depth must be at least 1, not {num_codes} and {depth}")
    low = max(2, int(num_codes ** (1 / depth)))
    return min((low, low + 1), key=lambda codes: abs(depth * log2(codes) - log2(num_codes)))


def parse_levels(text: str) -> tuple[int, ...]:
    """Parse the levels of each channel, such as "8x5x5x5".

    Raises UsageError for any other text, and for fewer than 2 levels.
    """
    words = text.split("x")
    require(all(word.isdecimal() for word in words), f"levels must read like 8x5x5x5, not {text!r}")
    require(min(map(int, words)) >= 2, f"every channel needs at least 2 levels, not {text!r}")
    return tuple(map(int, words))


def scalar_levels(num_codes: int) -> tuple[int, ...]:
    """Return levels per channel whose product is nearest to ``num_codes``.

    The largest level comes first.

    For the sizes of the paper's table 1 (arXiv 2309.15505) these are its levels. Otherwise each channel has 5 to 8
    levels, as the paper advises; fewer than 5 only if no such product comes within 5 % of the bits.

    Raises UsageError if ``num_codes`` is below 2.

    >>> scalar_levels(512)
    (8, 8, 8)
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


def odd_levels(num_codes: int) -> tuple[int, ...]:
    """Return odd levels per channel whose product is at most ``num_codes``.

    The product is the nearest to it, the largest level comes first, and there are as few channels as possible.

    Each channel has 5 to 17 levels; 3 only if no such product comes within 5 % of the bits.

    Raises UsageError if ``num_codes`` is below 3.

    >>> odd_levels(512)
    (11, 9, 5)
    """
    require(num_codes >= 3, f"num_codes must be at least 3 for odd levels, not {num_codes}")
    found: tuple[int, ...] = (3,)
    for least in (5, 3):
        most = max(1, int(log(num_codes) / log(least)))
        choices = [c for n in range(1, most + 1) for c in combinations_with_replacement(range(17, least - 1, -2), n)]
        fitting = [levels for levels in choices if prod(levels) <= num_codes]
        found = min(fitting, key=lambda levels: (_gap(levels, num_codes), len(levels)), default=found)
        if _gap(found, num_codes) <= 0.05:
            break
    return found


def _gap(levels: tuple[int, ...], num_codes: int) -> float:
    """Return by which share the bits of ``levels`` deviate from the budget."""
    return abs(log2(prod(levels)) / log2(num_codes) - 1)
