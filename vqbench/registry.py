"""Names to classes: built-in folders, files named by the user, and entry points of installed packages.

All three come in by the same door: a module (a file) offers the classes defined in it that fulfil a contract. A
module is imported only when one of its names is asked for, so that listing names needs no torch and a broken
plugin harms nobody who does not use it.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import sys
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from vqbench.errors import UsageError, nearest

Kind = Literal["quantizers", "metrics", "datasets", "backbones", "recipes"]

# The contract that a plugin of a kind fulfils: module and class, imported only when a plugin is.
CONTRACTS: Mapping[Kind, tuple[str, str]] = {
    "quantizers": ("vqbench.quantizer", "Quantizer"),
    "metrics": ("vqbench.metric", "Metric"),
    "datasets": ("vqbench.dataset", "Dataset"),
    "backbones": ("vqbench.backbone", "Backbone"),
    "recipes": ("vqbench.recipe", "Recipe"),
}


@dataclass(frozen=True)
class Source:
    """Where a plugin comes from, before it is imported."""

    name: str
    origin: Literal["built-in", "file", "package"]
    where: str | EntryPoint  # a module's name, a file's path, or an entry point

    def load(self) -> ModuleType | type:
        if isinstance(self.where, EntryPoint):
            return self.where.load()
        if self.origin == "built-in":
            return importlib.import_module(self.where)
        return _import_file(Path(self.where))

    def __str__(self) -> str:
        return self.where.value if isinstance(self.where, EntryPoint) else self.where


@dataclass(frozen=True)
class Resolved:
    """A plugin as a run names it: the class's own name and version, and every argument of its constructor."""

    name: str
    version: int
    args: dict[str, Any]


_files: dict[Path, str] = {}  # files added by the user -> name of the module they become


def add_file(path: str | Path) -> None:
    """Offer the plugins of one Python file, under the file's name. Raises UsageError if there is no such file."""
    path = Path(path).expanduser().resolve()
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"{path}: no such Python file; --plugin wants the path of a .py file")
    _files[path] = f"vqbench_plugin_{path.stem}"
    sources.cache_clear()


@cache
def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_files[path], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles inside the plugin look their module up by name
    spec.loader.exec_module(module)
    return module


@cache
def sources(kind: Kind) -> Mapping[str, Source]:
    """All plugins of ``kind`` by name, none of them imported. The user's files win over packages, these over ours."""
    package = importlib.import_module(f"vqbench.{kind}")
    found = {
        module.name: Source(module.name, "built-in", f"vqbench.{kind}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg and not module.name.startswith("_")
    }
    for entry in entry_points(group=f"vqbench.{kind}"):
        found[entry.name] = Source(entry.name, "package", entry)
    for path in _files:  # named by the user, so importing them is asked for, and tells which kind they offer
        source = Source(path.stem, "file", str(path))
        if _classes(kind, source):
            found[path.stem] = source
    return dict(sorted(found.items()))


def names(kind: Kind) -> list[str]:
    """The names of all plugins of ``kind``; presets are found through :func:`load` and :func:`presets`."""
    return list(sources(kind))


def load(kind: Kind, name: str) -> type:
    """The class of the plugin ``name``. Raises UsageError if it is unknown, or known but broken (with the cause)."""
    found = sources(kind)
    if name not in found:
        raise UsageError(f"unknown {kind[:-1]} {name!r}; {nearest(name, [*found, *presets(kind)])}")
    return _class_of(kind, found[name])


def _class_of(kind: Kind, source: Source) -> type:
    """The one class that a source offers. Raises UsageError if there is none, or more, or it cannot be imported."""
    classes = _classes(kind, source)
    if len(classes) != 1:
        contract = CONTRACTS[kind][1]
        raise UsageError(
            f"{source} must define exactly one subclass of {contract} to be a {kind[:-1]}, but defines {len(classes)}"
        )
    return classes[0]


@cache
def _classes(kind: Kind, source: Source) -> list[type]:
    """The classes of a source that fulfil the contract of ``kind``, those it merely imports apart."""
    try:
        offered = source.load()
    except Exception as error:  # a stranger's module may fail in any way: name it and its cause, for who asked for it
        raise UsageError(f"{kind[:-1]} {source.name!r} ({source}) cannot be imported: {error!r}") from error
    if inspect.isclass(offered):
        return [offered]
    module, name = CONTRACTS[kind]
    contract = getattr(importlib.import_module(module), name)
    members = [member for member in vars(offered).values() if inspect.isclass(member) and issubclass(member, contract)]
    return [member for member in members if member.__module__ == offered.__name__]


def presets(kind: Kind) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Published variants that a class names: preset -> (plugin's name, arguments). Broken plugins are left out here."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, source in sources(kind).items():
        try:
            cls = _class_of(kind, source)
        except UsageError:
            continue  # shown with its cause by `vqbench list`; whoever names it gets the error
        for preset, args in getattr(cls, "presets", {}).items():
            found[preset] = (name, args)
    return found


def find(kind: Kind, name: str) -> tuple[str, type, Mapping[str, Any]]:
    """The plugin or preset called ``name``: the plugin's own name, its class, and the preset's arguments."""
    if name not in sources(kind):
        for preset, (plugin, args) in presets(kind).items():
            if preset == name:
                return plugin, load(kind, plugin), args
    return name, load(kind, name), {}


def resolve(kind: Kind, name: str, given: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> Resolved:
    """Every argument that decides what the plugin ``name`` does, with its type checked.

    ``given`` are the suite's own arguments, ``fixed`` those that the suite's budget sets for every plugin alike
    (``num_codes``, ``dim``); the rest comes from the preset and the constructor's defaults. Raises UsageError
    for an unknown, missing or mistyped argument.
    """
    plugin, cls, preset = find(kind, name)
    fixed = fixed or {}
    known = dict(parameters(cls))
    own = [parameter for parameter in known if parameter not in fixed]
    for argument in given:
        if argument not in own:
            raise UsageError(f"{kind[:-1]} {name!r} has no argument {argument!r}; {nearest(argument, own)}")
    values = {**preset, **given, **fixed}
    args: dict[str, Any] = {}
    for argument, (annotation, default) in known.items():
        value = values.get(argument, default)
        if value is inspect.Parameter.empty:
            raise UsageError(f"{kind[:-1]} {name!r} needs the argument {argument!r}")
        args[argument] = _checked(f"{kind[:-1]} {name!r}, argument {argument!r}", value, annotation)
    return Resolved(plugin, cls.VERSION, args)  # type: ignore[attr-defined]  # every contract has a VERSION


def parameters(cls: type) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The constructor's arguments: name -> (annotation, default). Arguments that the recipe fills in are left out."""
    constructor: Any = cls.__init__  # type: ignore[misc]  # of the class itself, not of an instance
    hints = typing.get_type_hints(constructor)
    for name, parameter in inspect.signature(constructor).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name in getattr(cls, "FILLED", ()):
            continue
        yield name, (hints.get(name, Any), parameter.default)


def _checked(who: str, value: Any, annotation: Any) -> Any:
    """``value`` as ``annotation`` wants it: exact types, but a whole number is a fine float."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if isinstance(value, str) and annotation is float:
        raise UsageError(f"{who}: {value!r} is not a number")
    try:
        return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        raise UsageError(
            f"{who}: {error.errors()[0]['msg'][0].lower()}{error.errors()[0]['msg'][1:]}, not {value!r}"
        ) from None


def digest(kind: Kind, name: str) -> str:
    """Sha256 of the file that the plugin ``name`` is defined in, found without importing it where that is possible."""
    source = sources(kind).get(name) or sources(kind)[find(kind, name)[0]]
    if source.origin == "file":
        path: str | None = str(source.where)
    else:
        module = source.where.module if isinstance(source.where, EntryPoint) else source.where
        spec = importlib.util.find_spec(module)
        path = spec.origin if spec else None
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else "unknown"
