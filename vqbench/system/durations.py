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


def approximate(seconds: float) -> str:
    """Format seconds for a progress display: at most two units, coarsely rounded.

    >>> [approximate(seconds) for seconds in (0.4, 47, 200, 1834, 7900, 50_000, 300_000)]
    ['0s', '47s', '3m20s', '31m', '2h10m', '14h', '3d11h']
    """
    for above, to in ((36_000, 3600), (7200, 600), (600, 60), (60, 10), (0, 1)):  # seconds, rounded to
        if seconds >= above - to / 2:
            days, rest = divmod(round(seconds / to) * to, 86_400)
            return (f"{days}d" if days else "") + (format_duration(rest) if rest or not days else "")
    return "0s"


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
