"""Check what classes of plugins declare: arguments, version, docstring, texts."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Union

from vqbench import registry
from vqbench.conformance.case import Case
from vqbench.conformance.outcome import Fail
from vqbench.errors import UsageError

PLAIN = (int, float, bool, str, type(None))


def require_arguments(case: Case, first: Sequence[str] = (), defaults: bool = True) -> None:
    """Raise Fail unless the constructor takes ``first`` and named arguments.

    Every argument is part of a run's key, which ``**options`` and values without a plain type cannot be. ``defaults``:
    whether further arguments need a default.
    """
    parameters = list(inspect.signature(case.cls).parameters.values())
    names = [parameter.name for parameter in parameters]
    if names[: len(first)] != list(first):
        raise Fail(
            f"the constructor takes ({', '.join(names)})",
            f"begin with {' and '.join(first)}, which suites give",
        )
    hints = typing.get_type_hints(case.cls.__init__, include_extras=True)
    for parameter in parameters[len(first) :]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise Fail(f"{parameter} is no keyword argument", "name every argument: together they are the run's key")
        if defaults and parameter.default is parameter.empty:
            raise Fail(f"the argument {parameter.name!r} has no default", "give it one: suites set only what differs")
        if not _plain(hints.get(parameter.name)):
            raise Fail(
                f"the argument {parameter.name!r} is annotated {hints.get(parameter.name, 'with nothing')}",
                "annotate it with int, float, bool, str, Literal[...], an optional of these, or a range of "
                "vqbench.bounds",
            )
    required = [each.name for each in parameters[len(first) :] if each.default is each.empty]
    given = {name: value for name, value in case.args.items() if name in required}
    fixed = {name: 8 for name in first if name not in getattr(case.cls, "FILLED", ())}
    for preset, args in {"its defaults": {}, **getattr(case.cls, "presets", {})}.items():
        try:
            registry.checked(f"{case.kind[:-1]} {case.name!r}", case.cls, {**given, **args}, fixed)
        except UsageError as error:
            raise Fail(f"{preset}: {error}", "make defaults and presets fit their annotations") from error


def require_documented(case: Case, *texts: str) -> None:
    """Raise Fail unless docstring, VERSION and these ``texts`` are declared."""
    for name in texts:
        if not str(getattr(case.cls, name, "")).strip():
            raise Fail(f"`{name}` is missing", f'declare it in the class: {name}: ClassVar[str] = "..."')
    if not (case.cls.__doc__ or "").strip():
        raise Fail("the class has no docstring", "write the formula, and how it differs from its source and why")
    if type(case.cls.VERSION) is not int or case.cls.VERSION < 1:
        raise Fail(f"VERSION is {case.cls.VERSION!r}", "make it a whole number of at least 1")


def _plain(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        return _plain(typing.get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return all(map(_plain, typing.get_args(annotation)))
    if origin is Literal:
        return all(type(value) in PLAIN for value in typing.get_args(annotation))
    return annotation in PLAIN
