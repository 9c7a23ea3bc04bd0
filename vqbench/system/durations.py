"""Durations as users write and read them: 30s, 8m, 2h, 1h30m."""

from __future__ import annotations

import re

from vqbench.errors import UsageError, shortened

UNITS = {"h": 3600, "m": 60, "s": 1}  # seconds


def parse_duration(text: str) -> float:
    """Convert hours, minutes and seconds, in this order, to seconds.

    Raises UsageError for any other text.

    >>> parse_duration("1h30m")
    5400
    """
    parts = re.fullmatch(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?", text.strip().lower())
    numbers = parts.groups() if parts else ()
    total = sum(int(number or 0) * unit for number, unit in zip(numbers, UNITS.values(), strict=False))
    if not total:
        raise UsageError(f"{shortened(text)!r} is no length of time; write 30s, 8m, 2h or 1h30m")
    return total


def format_duration(seconds: float) -> str:
    """Format seconds, rounded to whole ones, for :func:`parse_duration`.

    >>> format_duration(5400)
    '1h30m'
    """
    text, remaining = "", round(seconds)
    for unit, length in UNITS.items():
        number, remaining = divmod(remaining, length)
        text += f"{number}{unit}" if number else ""
    return text or "0s"
