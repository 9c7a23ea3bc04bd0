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
import json
import pkgutil
import sys
import traceback
import typing
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Literal, overload

from vqbench.errors import UsageError, VqbenchError, nearest, shortened
from vqbench.spec import PluginSpec
from vqbench.system import source_digest
from vqbench.system.files import MB, open_regular
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from vqbench.backbone import Backbone
    from vqbench.dataset import Dataset
    from vqbench.metric import Metric
    from vqbench.quantizer import Quantizer
    from vqbench.recipe import Recipe

PLUGIN = 5 * MB  # bytes of a file with a plugin


class BrokenPlugin(UsageError):
    """A plugin that is there but cannot be used. It harms nobody who does not name it."""


class ChangedPlugin(UsageError):
    """A plugin's file that says something else than when the run was planned; runs without it are not concerned."""


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
class PluginSource:
    """Where a plugin comes from, before it is imported."""

    name: str
    origin: Literal["built-in", "file", "package"]
    where: str | EntryPoint  # a module's name, a file's path, or an entry point

    def load(self) -> ModuleType | type:
        if isinstance(self.where, EntryPoint):
            offered: ModuleType | type = self.where.load()
            return offered
        if self.origin == "built-in":
            return importlib.import_module(self.where)
        return _import_file(Path(self.where))

    def __str__(self) -> str:
        return self.where.value if isinstance(self.where, EntryPoint) else self.where


_files: dict[Path, str] = {}  # files added by the user -> name of the module they become
_imported: dict[Path, tuple[bytes, str]] = {}  # those that were imported -> their text then, and its digest


def add_file(path: str | Path) -> None:
    """Offer the plugins of one Python file, under the file's name. Raises UsageError if there is no such file."""
    path = path_of(path).resolve()
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"{path}: no such Python file; --plugin wants the path of a .py file")
    try:
        open_regular(path, PLUGIN).close()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); --plugin wants a short .py file") from None
    for kind in CONTRACTS:
        if path.stem in _built_in(kind) and path != _path(_built_in(kind)[path.stem]):
            raise UsageError(
                f"{path}: {path.stem!r} is a built-in {kind[:-1]}; rename the file, or runs would be confused"
            )
    if path.stem in _built_in_presets() and path.stem not in _built_in("quantizers"):
        raise UsageError(f"{path}: {path.stem!r} is a built-in preset; rename the file, or runs would be confused")
    if path in _imported and _imported[path][0] != path.read_bytes():  # it was edited since
        _import_file.cache_clear()
        _classes.cache_clear()
    _files[path] = f"vqbench_plugin_{path.stem}"
    sources.cache_clear()


@cache
def _built_in_presets() -> frozenset[str]:
    """The names of published variants of built-in quantizers."""
    return frozenset(
        preset for source in _built_in("quantizers").values() for preset in _class_of("quantizers", source).presets
    )


def files() -> tuple[Path, ...]:
    """The files that were added, for another process to have the same plugins."""
    return tuple(_files)


@cache
def _import_file(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_files[path], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles inside the plugin look their module up by name
    content = path.read_bytes()
    exec(compile(content, str(path), "exec", dont_inherit=True), vars(module))  # this text, not a compiled older one
    _imported[path] = content, source_digest.digest(content, path.parent)
    return module


def source(kind: Kind, name: str) -> str | None:
    """Digest of what the plugin ``name`` says, as it was imported; None unless it is a file of the user's.

    Built-in and packaged plugins raise their VERSION by hand instead.
    """
    found = sources(kind).get(name)
    if found is None or found.origin != "file" or name in _built_in(kind):
        return None
    return _imported[Path(str(found.where))][1]


def version(kind: Kind, name: str) -> int:
    """The VERSION of the plugin ``name``; above it, where that is a file of the user's, a number of what it says."""
    said = source(kind, name)
    own: int = load(kind, name).VERSION
    return own + (0 if said is None else 1000 * int(said[:10], 16))


def require_same(kind: Kind, name: str, planned: str | None) -> None:
    """Raises ChangedPlugin where the file of a plugin does not say what it said when a run was ``planned``."""
    load(kind, name)
    if source(kind, name) != planned:
        raise ChangedPlugin(
            f"{kind[:-1]} {name!r} ({sources(kind)[name]}) was edited since this run was planned; `vqbench run` trains "
            "it anew as it is now"
        )


@cache
def sources(kind: Kind) -> Mapping[str, PluginSource]:
    """All plugins of ``kind`` by name, none of them imported but the user's own files, which win over packages.

    A built-in name is never given away, since runs are named by it; see :func:`refused`.
    """
    found = {entry.name: PluginSource(entry.name, "package", entry) for entry in _entries(kind)} | _built_in(kind)
    for path in _files:  # named by the user, so importing them is asked for, and tells which kind they offer
        source = PluginSource(path.stem, "file", str(path))
        if _classes(kind, source):
            found[path.stem] = source
    return dict(sorted(found.items()))


@cache
def _built_in(kind: Kind) -> dict[str, PluginSource]:
    package = importlib.import_module(f"vqbench.{kind}")
    return {
        module.name: PluginSource(module.name, "built-in", f"vqbench.{kind}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg and not module.name.startswith("_")
    }


def _entries(kind: Kind) -> list[EntryPoint]:
    """What installed packages offer, in an order that does not depend on that of their installation."""
    return sorted(entry_points(group=f"vqbench.{kind}"), key=lambda entry: (entry.name, entry.value), reverse=True)


def refused(kind: Kind) -> dict[str, str]:
    """What installed packages offer under a name that is taken: where it is -> why it is not used."""
    used = {source.where for source in sources(kind).values()}
    return {
        f"{entry.name} ({entry.value})": f"the name {entry.name!r} is taken by {sources(kind)[entry.name]}"
        for entry in _entries(kind)
        if entry not in used
    }


def names(kind: Kind) -> list[str]:
    """The names of all plugins of ``kind``; presets are found through :func:`load` and :func:`presets`."""
    return list(sources(kind))


def added(kind: Kind) -> list[str]:
    """The names of those plugins of ``kind`` that the user's own files bring."""
    return [name for name, source in sources(kind).items() if source.origin == "file"]


@overload
def load(kind: Literal["quantizers"], name: str) -> type[Quantizer]: ...
@overload
def load(kind: Literal["metrics"], name: str) -> type[Metric]: ...
@overload
def load(kind: Literal["datasets"], name: str) -> type[Dataset]: ...
@overload
def load(kind: Literal["backbones"], name: str) -> type[Backbone]: ...
@overload
def load(kind: Literal["recipes"], name: str) -> type[Recipe]: ...
@overload
def load(kind: Kind, name: str) -> type[Any]: ...
def load(kind: Kind, name: str) -> type[Any]:
    """The class of the plugin ``name``. Raises UsageError if it is unknown, or known but broken (with the cause)."""
    found = sources(kind)
    if name not in found:
        raise UsageError(f"unknown {kind[:-1]} {name!r}; {nearest(name, [*found, *presets(kind)])}")
    return _class_of(kind, found[name])


def _class_of(kind: Kind, source: PluginSource) -> type[Any]:
    """The one class that a source offers. Raises UsageError if there is none, or more, or it cannot be imported."""
    classes = _classes(kind, source)
    if len(classes) != 1:
        contract = CONTRACTS[kind][1]
        raise BrokenPlugin(
            f"{source} must define exactly one subclass of {contract} to be a {kind[:-1]}, but defines {len(classes)}"
        )
    _require_attributes(kind, source, classes[0])
    return classes[0]


@cache
def _require_attributes(kind: Kind, source: PluginSource, cls: type) -> None:
    """Raises BrokenPlugin where an attribute of a stranger's class is not what its contract says that it is."""
    if source.origin == "built-in":  # which the tests hold to it
        return
    for base in cls.__mro__:
        if base.__module__ != CONTRACTS[kind][0]:
            continue
        for name, annotation in inspect.get_annotations(base, eval_str=True).items():
            origin: Any = typing.get_origin(annotation)
            if origin is typing.ClassVar and hasattr(cls, name):
                value, [wanted] = getattr(cls, name), typing.get_args(annotation)
                if hasattr(value, "__get__"):  # of the instance, then
                    continue
                value = tuple(value) if isinstance(value, list) else value
                try:
                    _checked(f"{kind[:-1]} {source.name!r} ({source}): {cls.__name__}.{name}", value, wanted)
                except UsageError as error:
                    raise BrokenPlugin(str(error)) from None


@cache
def _classes(kind: Kind, source: PluginSource) -> list[type]:
    """The classes of a source that fulfil the contract of ``kind``, those it merely imports apart."""
    try:
        offered = source.load()
    except (Exception, SystemExit) as error:  # a stranger's module may fail in any way: whoever names it gets the cause
        raise BrokenPlugin(f"{kind[:-1]} {source.name!r} ({source}) cannot be imported: {error!r:.300}") from error
    module, name = CONTRACTS[kind]
    contract = getattr(importlib.import_module(module), name)
    members: list[Any] = list(vars(offered).values()) if inspect.ismodule(offered) else [offered]
    members = [member for member in members if inspect.isclass(member) and issubclass(member, contract)]
    if inspect.isclass(offered):
        return members
    own = f"{getattr(offered, '__name__', '')}."  # the module's, or those of the files below it if it is a package
    return [member for member in dict.fromkeys(members) if f"{member.__module__}.".startswith(own)]


def presets(kind: Kind) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Published variants that a class names: preset -> (plugin's name, arguments). Broken plugins are left out here.

    Of two with one name the built-in one is meant.
    """
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, source in sorted(sources(kind).items(), key=lambda item: item[1].origin != "built-in"):
        try:
            cls = _class_of(kind, source)
        except UsageError:
            continue  # shown with its cause by `vqbench list`; whoever names it gets the error
        for preset, args in getattr(cls, "presets", {}).items():
            found.setdefault(preset, (name, args))
    return found


def lacks(kind: Kind, name: str) -> str:
    """What must be installed before the plugin ``name`` can be used, and how, in a sentence; empty if nothing."""
    return lacking(f"{kind[:-1]} {name!r}", load(kind, name))


def lacking(who: str, cls: type) -> str:
    """Likewise of a class."""
    absent = [module for module in getattr(cls, "packages", ()) if not _installed(module)]
    if not absent:
        return ""
    what = getattr(cls, "install", "") or " ".join(absent)
    return f"{who} needs {' and '.join(absent)}, which is not installed: pip install {what}"


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def create(kind: Kind, name: str, /, **args: Any) -> Any:
    """The plugin ``name``, made with ``args``. Raises UsageError, and BrokenPlugin for a constructor that fails."""
    cls = load(kind, name)
    with contained(kind, name):
        return cls(**args)


@contextmanager
def contained(kind: Kind, name: str) -> Iterator[None]:
    """Within, code of the plugin ``name`` runs, which may be a stranger's: whatever it raises becomes BrokenPlugin."""
    try:
        yield
    except VqbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(f"{kind[:-1]} {name!r} ({sources(kind)[name]}) fails: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """What was raised, in one line, with the line of the innermost call."""
    said = " ".join(str(error).split())
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {said[:200]}{'...' if len(said) > 200 else ''}{where}"


def find(kind: Kind, name: str) -> tuple[str, type[Any], Mapping[str, Any]]:
    """The plugin or preset called ``name``: the plugin's own name, its class, and the preset's arguments."""
    if name not in sources(kind):
        for preset, (plugin, args) in presets(kind).items():
            if preset == name:
                return plugin, load(kind, plugin), args
    return name, load(kind, name), {}


def resolve(kind: Kind, name: str, given: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> PluginSpec:
    """Resolve every argument that decides what the plugin ``name`` does, its type checked.

    ``given`` are the suite's own arguments, ``fixed`` those that the suite's budget sets for every plugin alike
    (``num_codes``, ``dim``); the rest comes from the preset and the constructor's defaults. An argument that the class
    names in ``LATER`` is left out where it has the value named there. Raises UsageError for an unknown, missing or
    mistyped argument.
    """
    plugin, cls, preset = find(kind, name)
    args = checked(f"{kind[:-1]} {name!r}", cls, given, fixed or {}, preset)
    if kind == "datasets":  # a place on this machine gives way to what lies there
        with contained(kind, plugin):
            args = cls.canonical_args(args)
    later: Mapping[str, Any] = getattr(cls, "LATER", {})  # else runs from before such an argument would lose their key
    args = {argument: value for argument, value in args.items() if argument not in later or value != later[argument]}
    return PluginSpec(plugin, cls.VERSION, args, source(kind, plugin))


def refresh(name: str, given: Mapping[str, Any]) -> None:
    """Have the data set ``name`` compare the files on this machine with what is kept of them, one by one."""
    _, cls, preset = find("datasets", name)
    cls.refresh(checked(f"dataset {name!r}", cls, given, {}, preset))


def checked(
    who: str,
    cls: type,
    given: Mapping[str, Any],
    fixed: Mapping[str, Any],
    preset: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """All arguments of ``cls``, from ``fixed``, ``given``, ``preset`` and the defaults in this order, types checked."""
    known = dict(parameters(cls))
    for argument in fixed:
        if argument not in known:
            raise BrokenPlugin(f"{who} does not take the argument {argument!r}, which every suite gives; add it")
    own = [parameter for parameter in known if parameter not in fixed]
    for argument in (*given, *preset):
        if argument not in own:
            raise UsageError(f"{who} has no argument {argument!r}; {nearest(argument, own)}")
    values = {**preset, **given, **fixed}
    args: dict[str, Any] = {}
    for argument, (annotation, default) in known.items():
        value = values.get(argument, default)
        if value is inspect.Parameter.empty:
            raise UsageError(f"{who} needs the argument {argument!r}")
        args[argument] = _checked(f"{who}, argument {argument!r}", value, annotation)
        _require_plain(f"{who}, argument {argument!r}", args[argument])
    return args


def _require_plain(who: str, value: Any) -> None:
    """Raises BrokenPlugin for a value that JSON does not have, since arguments name a run."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        raise BrokenPlugin(
            f"{who}: {value!r:.100} cannot name a run; use numbers, texts, true, false or null"
        ) from None


def parameters(cls: type) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The constructor's arguments: name -> (annotation, default). Arguments that the recipe fills in are left out."""
    constructor: Any = cls.__init__  # type: ignore[misc]  # of the class itself, not of an instance
    try:
        hints = typing.get_type_hints(constructor, include_extras=True)
    except Exception as error:  # a name that is imported for type checkers alone, or anything else that is evaluated
        raise BrokenPlugin(
            f"{cls.__name__}: an annotation of its constructor cannot be resolved ({_cause(error)}); import what it "
            "names"
        ) from error
    for name, parameter in inspect.signature(constructor).parameters.items():
        if name == "self" or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        if name in getattr(cls, "FILLED", ()):
            continue
        yield name, (hints.get(name, Any), parameter.default)


def _checked(who: str, value: Any, annotation: Any) -> Any:
    """``value`` as ``annotation`` wants it: exact types within declared ranges, but a whole number is a fine float."""
    from pydantic import PydanticUserError, ValidationError

    if isinstance(value, str) and float in (annotation, getattr(annotation, "__origin__", None)):
        raise UsageError(f"{who}: {shortened(repr(value))} is not a number")
    try:
        return _adapter(annotation).validate_python(value)
    except PydanticUserError as error:
        raise BrokenPlugin(
            f"{who} is annotated {annotation!r:.100}, which no suite can give; use int, float, bool, str or Literal"
        ) from error
    except ValidationError as error:
        wrong = error.errors()[0]["msg"]
        raise UsageError(f"{who}: {wrong[0].lower()}{wrong[1:]}, not {shortened(repr(value))}") from None


@cache
def _adapter(annotation: Any) -> Any:
    from pydantic import ConfigDict, TypeAdapter

    return TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def digest(kind: Kind, name: str) -> str:
    """Sha256 of what the plugin ``name`` is written in, found without importing it where that is possible.

    Of the user's file that is its :func:`source`; of an installed package its version and all of its Python files,
    since one may build on another.
    """
    plugin = name if name in sources(kind) else find(kind, name)[0]
    if said := source(kind, plugin):
        return said
    found = sources(kind)[plugin]
    path = _path(found)
    if path is None:
        return "unknown"
    digest = hashlib.sha256()
    if isinstance(found.where, EntryPoint):
        digest.update((found.where.dist.version if found.where.dist else "").encode())
    files = sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _path(source: PluginSource) -> Path | None:
    """The file of a plugin; of one from an installed package, that of the package's outermost module."""
    if source.origin == "file":
        return Path(str(source.where))
    module = source.where.module.split(".")[0] if isinstance(source.where, EntryPoint) else source.where
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # it is broken, which whoever loads it is told
        return None
    return Path(spec.origin).resolve() if spec and spec.origin else None
