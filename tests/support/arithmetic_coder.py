"""An arithmetic coder: writes symbols in as many bits as their probabilities ask for, and reads them back.

Integer arithmetic coding of I. H. Witten, R. M. Neal, J. G. Cleary, Arithmetic Coding for Data Compression,
Communications of the ACM 30, 1987: an interval of 32 bits is narrowed by each symbol, and its settled leading bits are
written. Decoding follows the same intervals, so it needs equal frequencies, not equal floating point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

TOP, HALF, QUARTER = 2**32 - 1, 2**31, 2**30
TOTAL = 2**20  # of the frequencies of one symbol


def frequencies(probabilities: np.ndarray) -> np.ndarray:
    """Turn probabilities (K,) into K positive integers that sum to ``TOTAL``."""
    counts = np.maximum(1, np.floor(probabilities * (TOTAL - len(probabilities)))).astype(np.int64)
    counts[counts.argmax()] += TOTAL - counts.sum()
    return counts


def encode(symbols: Sequence[int], models: Sequence[np.ndarray]) -> list[int]:
    """Return the bits of ``symbols``, each with the frequencies (K,) of its place."""
    low, high, pending, bits = 0, TOP, 0, []

    def write(bit: int) -> None:
        nonlocal pending
        bits.extend([bit, *[1 - bit] * pending])
        pending = 0

    for symbol, counts in zip(symbols, models, strict=True):
        below, width = int(counts[:symbol].sum()), high - low + 1
        low, high = low + width * below // TOTAL, low + width * (below + int(counts[symbol])) // TOTAL - 1
        while True:
            if high < HALF:
                write(0)
            elif low >= HALF:
                write(1)
                low, high = low - HALF, high - HALF
            elif low >= QUARTER and high < 3 * QUARTER:
                pending += 1
                low, high = low - QUARTER, high - QUARTER
            else:
                break
            low, high = 2 * low, 2 * high + 1
    pending += 1
    write(int(low >= QUARTER))
    return bits


def decode(bits: Sequence[int], count: int, model: Callable[[list[int]], np.ndarray]) -> list[int]:
    """Return ``count`` symbols; ``model`` gives the frequencies after those so far."""
    stream = iter(bits)
    low, high, value, symbols = 0, TOP, 0, []
    for _ in range(32):
        value = 2 * value + next(stream, 0)
    for _ in range(count):
        ends, width = np.cumsum(model(symbols)), high - low + 1
        at = ((value - low + 1) * TOTAL - 1) // width
        symbol = int(np.searchsorted(ends, at, side="right"))
        below = int(ends[symbol - 1]) if symbol else 0
        low, high = low + width * below // TOTAL, low + width * int(ends[symbol]) // TOTAL - 1
        symbols.append(symbol)
        while True:
            if high < HALF:
                offset = 0
            elif low >= HALF:
                offset = HALF
            elif low >= QUARTER and high < 3 * QUARTER:
                offset = QUARTER
            else:
                break
            low, high, value = 2 * (low - offset), 2 * (high - offset) + 1, 2 * (value - offset) + next(stream, 0)
    return symbols
