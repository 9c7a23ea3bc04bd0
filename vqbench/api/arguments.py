"""Check the arguments of the Python API before anything is started."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from vqbench.errors import UsageError, shortened


def plain(value: Any) -> Any:
    """Return ``value`` as YAML would give it.

    Tuples and ranges become lists, paths text, numbers and arrays of numpy plain numbers and lists of them.
    """
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list | range):
        return [plain(each) for each in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if hasattr(value, "tolist") else value


def whole_number(name: str, value: Any, least: int = 1) -> int:
    """Return an argument that is a whole number, ``least`` or more.

    Raises UsageError for any other.
    """
    number = plain(value)
    if type(number) is not int or number < least:
        raise UsageError(f"{_shown(name, value)}: give a whole number, at least {least}")
    return number


def words(name: str, value: Any) -> list[str]:
    """Return one word or path, or several, as a list. Raises UsageError for others."""
    several = [value] if isinstance(value, str | Path) else value
    if not isinstance(several, Iterable) or isinstance(several, Mapping | bytes):
        raise UsageError(f"{_shown(name, value)}: give a text, or several as a list")
    found = list(several)
    for word in found:
        if not isinstance(word, str | Path):
            raise UsageError(f"{_shown(name, value)}: give a text, or several as a list; {word!r} is none")
    return [str(word) for word in found]


def text_or_path(name: str, value: Any, example: str) -> str | Path:
    """Return an argument that is text or a path. Raises UsageError for any other."""
    if not isinstance(value, str | Path):
        raise UsageError(f"{_shown(name, value)}: give {example}")
    return value


def mapping(name: str, value: Any, example: str) -> Mapping[str, Any]:
    """Return an argument that is a mapping. Raises UsageError for any other."""
    if not isinstance(value, Mapping):
        raise UsageError(f"{_shown(name, value)}: give a mapping, such as {example}")
    return value


def seconds(name: str, limit: Any) -> float | None:
    """Return a length of time in seconds. Raises UsageError for what is none."""
    from vqbench.system.durations import parse_duration

    limit = plain(limit)
    if limit is None:
        return None
    if isinstance(limit, str):
        return parse_duration(limit)
    if type(limit) not in (int, float) or not (math.isfinite(limit) and limit > 0):
        raise UsageError(f"{_shown(name, limit)} is no length of time; give seconds, or 30s, 8m, 2h or 1h30m")
    return float(limit)


def device_name(device: Any) -> str:
    """Return the name of a device that this machine has, or auto.

    Raises UsageError for any other. A GPU that auto would choose is not looked for yet.
    """
    from vqbench.training.engine import devices_of

    if device == "auto":
        return "auto"
    return str(devices_of(device, 1)[0])


def function(name: str, value: Any) -> Callable[..., Any] | None:
    """Return an argument that is a function or None. Raises UsageError for others."""
    if value is not None and not callable(value):
        raise UsageError(f"{_shown(name, value)}: give a function, or None")
    return value  # type: ignore[no-any-return]  # callable, or None


def _shown(name: str, value: Any) -> str:
    """An argument as a message quotes it."""
    return f"{name}={shortened(repr(value))}"
