"""Resolve the arguments of plugins, each of its declared type."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

from vqbench.errors import UsageError, nearest, shortened
from vqbench.registry.discovery import BrokenPlugin, Kind
from vqbench.registry.loading import cause, contained, find, source
from vqbench.spec import PluginSpec


def resolve(kind: Kind, name: str, given: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> PluginSpec:
    """Resolve every argument that decides what a plugin does.

    Args:
        kind: the plugin's kind, such as "quantizers".
        name: the plugin, or one of its presets.
        given: arguments that a suite gives.
        fixed: arguments that a suite's budget sets for every plugin alike (``num_codes``, ``dim``).

    Returns:
        The plugin with all arguments; those that are not given come from the preset and the constructor's defaults. An
        argument that the class names in ``LATER`` is left out where it has the value named there.

    Raises:
        UsageError: an argument is unknown, missing, of a wrong type or out of range.
    """
    plugin, cls, preset = find(kind, name)
    args = checked(f"{kind[:-1]} {name!r}", cls, given, fixed or {}, preset)
    if kind == "datasets":  # a path is replaced by a digest of its content
        with contained(kind, plugin):
            args = cls.canonical_args(args)
    later: Mapping[str, Any] = getattr(cls, "LATER", {})  # else runs from before such an argument would lose their key
    args = {argument: value for argument, value in args.items() if argument not in later or value != later[argument]}
    return PluginSpec(plugin, cls.VERSION, args, source(kind, plugin))


def refresh(name: str, given: Mapping[str, Any]) -> None:
    """Compare the files of the data set ``name`` with the cached facts of them."""
    _, cls, preset = find("datasets", name)
    cls.refresh(checked(f"dataset {name!r}", cls, given, {}, preset))


def checked(
    subject: str,
    cls: type,
    given: Mapping[str, Any],
    fixed: Mapping[str, Any],
    preset: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return all arguments of ``cls``, their types checked.

    They are taken from ``fixed``, ``given``, ``preset`` and the defaults, in this order. Errors are about ``subject``.
    """
    known = dict(parameters(cls))
    for argument in fixed:
        if argument not in known:
            raise BrokenPlugin(f"{subject} does not take the argument {argument!r}, which every suite gives; add it")
    own = [parameter for parameter in known if parameter not in fixed]
    for argument in (*given, *preset):
        if argument not in own:
            raise UsageError(f"{subject} has no argument {argument!r}; {nearest(argument, own)}")
    values = {**preset, **given, **fixed}
    args: dict[str, Any] = {}
    for argument, (annotation, default) in known.items():
        value = values.get(argument, default)
        if value is inspect.Parameter.empty:
            raise UsageError(f"{subject} needs the argument {argument!r}")
        args[argument] = check_value(f"{subject}, argument {argument!r}", value, annotation)
        _require_plain(f"{subject}, argument {argument!r}", args[argument])
    return args


def _require_plain(subject: str, value: Any) -> None:
    """Raise BrokenPlugin for a value without a form in JSON.

    Arguments name a run.
    """
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise BrokenPlugin(
            f"{subject}: {value!r:.100} cannot name a run; use numbers, texts, true, false or null"
        ) from None


def parameters(cls: type) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the constructor's arguments: name -> (annotation, default).

    Those that the recipe fills in are left out.
    """
    constructor: Any = cls.__init__  # type: ignore[misc]  # of the class itself, not of an instance
    try:
        hints = typing.get_type_hints(constructor, include_extras=True)
    except Exception as error:  # a name that is imported for type checkers alone, or anything else that is evaluated
        raise BrokenPlugin(
            f"{cls.__name__}: an annotation of its constructor cannot be resolved ({cause(error)}); import its names"
        ) from error
    for name, parameter in inspect.signature(constructor).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name in getattr(cls, "FILLED", ()):
            continue
        yield name, (hints.get(name, Any), parameter.default)


def check_value(subject: str, value: Any, annotation: Any) -> Any:
    """Return ``value`` as ``annotation`` declares it, in type and range.

    Types are exact, but an int is a valid float.

    Raises UsageError about ``subject`` for any other value, and BrokenPlugin for a type that no suite can give.
    """
    from pydantic import PydanticUserError, ValidationError

    if isinstance(value, str) and float in (annotation, getattr(annotation, "__origin__", None)):
        raise UsageError(f"{subject}: {shortened(repr(value))} is not a number")
    try:
        return _adapter(annotation).validate_python(value)
    except PydanticUserError as error:
        raise BrokenPlugin(
            f"{subject} is annotated {annotation!r:.100}, which no suite can give; use int, float, bool, str or Literal"
        ) from error
    except ValidationError as error:
        wrong = error.errors()[0]["msg"]
        raise UsageError(f"{subject}: {wrong[0].lower()}{wrong[1:]}, not {shortened(repr(value))}") from None


@cache
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
