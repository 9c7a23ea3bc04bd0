"""Lengths of time in words, as users write and read them."""

from __future__ import annotations

import re

from vqbench.errors import UsageError, shortened

UNITS = {"h": 3600, "m": 60, "s": 1}


def seconds(text: str) -> float:
    """A length of time in words to seconds. Raises UsageError for anything but hours, minutes and seconds in order.

    >>> seconds("1h30m")
    5400
    """
    parts = re.fullmatch(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?", text.strip().lower())
    numbers = parts.groups() if parts else ()
    total = sum(int(number or 0) * unit for number, unit in zip(numbers, UNITS.values(), strict=False))
    if not total:
        raise UsageError(f"{shortened(text)!r} is no length of time; write 30s, 8m, 2h or 1h30m")
    return total


def words(seconds: float) -> str:
    """The inverse of :func:`seconds`.

    >>> words(5400)
    '1h30m'
    """
    said, left = "", round(seconds)
    for name, unit in UNITS.items():
        number, left = divmod(left, unit)
        said += f"{number}{name}" if number else ""
    return said or "0s"
