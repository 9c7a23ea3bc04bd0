"""Strict models of YAML data: their base class, and checks of values."""

from __future__ import annotations

import math
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_serializer, model_validator

from vqbench.errors import nearest, shortened

T = TypeVar("T")
MOST_CODES = 2**24  # of a codebook, and dimensions of a code
_SIZE = {"type": "integer", "minimum": 1, "maximum": MOST_CODES}
SIZES: dict[str, Any] = {"anyOf": [_SIZE, {"type": "array", "items": _SIZE, "minItems": 1, "uniqueItems": True}]}


class Problem(ValueError):
    """A wrong value, or one at ``path`` below it."""

    def __init__(self, message: str, *path: str | int) -> None:
        super().__init__(message)
        self.path = path


def word(text: str) -> str:
    """Check a name that files are called by."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", text):
        raise Problem(
            f"{shown(text)} should be up to 64 letters, digits, _ and -, a letter first: files are named by it"
        )
    return text


def line(text: str) -> str:
    """Check a short text for one line of a table."""
    if not text.strip() or "\n" in text or len(text) > 200:
        raise Problem(f"{shown(text)} should be one line of text, of at most 200 characters")
    return text


def filled(values: list[T]) -> list[T]:
    """Check that a list is not empty."""
    if not values:
        raise Problem("is empty; name at least one")
    return values


def distinct(values: list[T]) -> list[T]:
    """Check that a list is not empty and has every value once."""
    filled(values)
    seen: set[T] = set()
    for index, value in enumerate(values):
        if value in seen:
            raise Problem(f"{value} is listed twice; remove one", index)
        seen.add(value)
    return values


def sizes(values: Any) -> list[int]:
    """Check a whole number, or a list of them: a grid. Returns a list."""
    for index, value in enumerate(values if isinstance(values, list) else [values]):
        if type(value) is not int or not 1 <= value <= MOST_CODES:
            path = [index] if isinstance(values, list) else []
            raise Problem(f"is {shown(value)}; it should be a whole number, 1 or more, at most {MOST_CODES:,}", *path)
    return distinct(values) if isinstance(values, list) else [values]


def arguments(args: Any, *path: str | int, grid: bool = False) -> dict[str, Any]:
    """Check that the arguments of a plugin are plain values.

    In a grid, lists of them are valid too. Names are checked with the plugin.
    """
    if args is not None and not isinstance(args, dict):
        raise Problem(f"is {shown(args)}; the arguments should be a mapping, such as {{beta: 0.25}}", *path)
    for name, value in (args or {}).items():
        items = value if grid and isinstance(value, list) else [value]
        if not all(map(_plain_value, items)):
            kinds = "a finite number, a word, true, false or null" + (", or a list of these" if grid else "")
            raise Problem(f"is {shown(value)}; an argument should be {kinds}", *path, name)
        try:
            distinct([f"{item!r}" for item in items])  # of 1, 1.0 and true, each is another value
        except Problem as problem:
            raise Problem(str(problem), *path, name) from None
    return dict(args or {})


def _plain_value(value: Any) -> bool:
    return isinstance(value, bool | int | str | None) or (isinstance(value, float) and math.isfinite(value))


def shown(value: Any) -> str:
    """A value in an error: short, on one line."""
    return shortened(repr(value))


class Model(BaseModel):
    """A mapping with known keys.

    A value of the wrong type is an error, never converted.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: Any) -> Any:
        return cls._plain(data) if not isinstance(data, cls) else data

    @classmethod
    def _plain(cls, data: Any) -> Any:
        """Translate ``data`` from its form in YAML to the fields of the model."""
        if not isinstance(data, dict):
            raise Problem(f"is {shown(data)}; it should be a mapping of {', '.join(cls.model_fields)}")
        for key in data:
            if key not in cls.model_fields:
                raise Problem(f"unknown key; {nearest(key, cls.model_fields)}", key)
        return data


class Plugin(Model):
    """A plugin by name, with arguments that differ from its defaults.

    In YAML: ``conv`` or ``{conv: {hidden: 64}}``.
    """

    name: str
    args: dict[str, Any] = {}

    @classmethod
    def _plain(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"name": data}
        if not isinstance(data, dict) or len(data) != 1:
            raise Problem(f"is {shown(data)}; it should be a name, or one name with arguments: {{name: {{...}}}}")
        [(name, args)] = data.items()
        return {"name": name, "args": arguments(args, name)}

    @model_serializer
    def _written(self) -> str | dict[str, Any]:
        return {self.name: self.args} if self.args else self.name
