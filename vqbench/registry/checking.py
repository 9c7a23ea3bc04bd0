"""Check a value against the type and range that a plugin declares for it."""

from __future__ import annotations

from functools import cache
from typing import Any

from vqbench.errors import UsageError, shortened
from vqbench.registry.discovery import BrokenPlugin


def check_value(subject: str, value: Any, annotation: Any, infinite: bool = False) -> Any:
    """Return ``value`` as ``annotation`` declares it, in type and range.

    Types are exact, but an int is a valid float. ``infinite``: whether a float may be infinite, as no argument may.

    Raises UsageError about ``subject`` for any other value, and BrokenPlugin for a type that no suite can give.
    """
    from pydantic import PydanticUserError, ValidationError

    if isinstance(value, str) and float in (annotation, getattr(annotation, "__origin__", None)):
        raise UsageError(f"{subject}: {shortened(repr(value))} is not a number")
    try:
        return _adapter(annotation, infinite).validate_python(value)
    except PydanticUserError as error:
        raise BrokenPlugin(
            f"{subject} is annotated {annotation!r:.100}, which no suite can give; use int, float, bool, str or Literal"
        ) from error
    except ValidationError as error:
        wrong = error.errors()[0]["msg"]
        raise UsageError(f"{subject}: {wrong[0].lower()}{wrong[1:]}, not {shortened(repr(value))}") from None


@cache
def _adapter(annotation: Any, infinite: bool) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=infinite))
