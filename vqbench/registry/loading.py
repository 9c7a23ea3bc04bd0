"""Load plugins: the class of a name, its presets, instances and versions."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import traceback
import typing
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from vqbench.errors import UsageError, VqbenchError, nearest
from vqbench.registry import discovery
from vqbench.registry.discovery import (
    CONTRACTS,
    BrokenPlugin,
    ChangedPlugin,
    Kind,
    PluginSource,
    built_in,
    classes,
    sources,
)
from vqbench.system.files import MB, open_regular

if TYPE_CHECKING:
    from vqbench.backbone import Backbone
    from vqbench.dataset import Dataset
    from vqbench.metric import Metric
    from vqbench.quantizer import Quantizer
    from vqbench.recipe import Recipe

LARGEST_FILE = 5 * MB  # bytes of a file with a plugin


def add_file(path: str | Path) -> None:
    """Offer the plugins of one Python file, under the file's name.

    Raises UsageError if there is no such file, or its name is taken.
    """
    from vqbench.system.paths import path_of

    path = path_of(path).resolve()
    _require_usable(path)
    discovery.offer(path)
    sources.cache_clear()


def offered(path: str | Path) -> dict[Kind, type[Any]]:
    """Return the class of each kind that one Python file defines.

    Unlike :func:`add_file`, it makes them known to nobody, so a file may have the name of a preset.

    Raises:
        UsageError: there is no such file, or its name is that of a built-in plugin.
        BrokenPlugin: the file cannot be imported, or defines several classes of one kind.
    """
    from vqbench.system.paths import path_of

    path = path_of(path).resolve()
    _require_usable(path, presets=False)
    source = PluginSource(path.stem, "file", str(path))
    try:
        source.load()
    except (Exception, SystemExit) as error:  # it may fail in any way
        raise BrokenPlugin(f"{path} cannot be imported: {error!r:.300}") from error
    return {kind: _class_of(kind, source) for kind in CONTRACTS if classes(kind, source)}


def _require_usable(path: Path, presets: bool = True) -> None:
    """Raise UsageError unless ``path`` is a Python file whose name is free.

    ``presets``: whether the names of presets are taken, too. An edited file is then imported anew.
    """
    if path.suffix != ".py" or not path.is_file():
        raise UsageError(f"{path}: no such Python file; give the path of a .py file")
    try:
        open_regular(path, LARGEST_FILE).close()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give a short .py file") from None
    for kind in CONTRACTS:
        if path.stem in built_in(kind) and path != built_in(kind)[path.stem].path():
            raise UsageError(
                f"{path}: {path.stem!r} is a built-in {kind[:-1]}; rename the file, or runs would be confused"
            )
    if presets and path.stem in _built_in_presets() and path.stem not in built_in("quantizers"):
        raise UsageError(f"{path}: {path.stem!r} is a built-in preset; rename the file, or runs would be confused")
    if discovery.was_edited(path):
        discovery.import_file.cache_clear()
        classes.cache_clear()


def add_files(paths: Iterable[str | Path]) -> None:
    """Offer the plugins of several Python files; see :func:`add_file`.

    Raises UsageError where two of them have the same name.
    """
    named: dict[str, Path] = {}
    for path in map(Path, paths):
        add_file(path)
        if (same := named.setdefault(path.stem, path)).resolve() != path.resolve():
            raise UsageError(f"{path}: {same} has the same name; rename one of them")


@cache
def _built_in_presets() -> frozenset[str]:
    """The names of published variants of built-in quantizers."""
    return frozenset(
        preset for source in built_in("quantizers").values() for preset in _class_of("quantizers", source).presets
    )


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
    """Return the class of a plugin.

    Args:
        kind: its kind, such as "quantizers".
        name: its own name, not that of a preset.

    Raises:
        UsageError: the name is unknown.
        BrokenPlugin: the plugin cannot be imported, or does not fulfil the contract of its kind.
    """
    found = sources(kind)
    if name not in found:
        raise UsageError(f"unknown {kind[:-1]} {name!r}; {nearest(name, [*found, *presets(kind)])}")
    return _class_of(kind, found[name])


def _class_of(kind: Kind, source: PluginSource) -> type[Any]:
    """The one class that a source offers.

    Raises BrokenPlugin if it offers none, or several.
    """
    offered = classes(kind, source)
    if len(offered) != 1:
        contract = CONTRACTS[kind][1]
        raise BrokenPlugin(
            f"{source} must define exactly one subclass of {contract} to be a {kind[:-1]}, but defines {len(offered)}"
        )
    _require_attributes(kind, source, offered[0])
    return offered[0]


@cache
def _require_attributes(kind: Kind, source: PluginSource, cls: type) -> None:
    """Raise BrokenPlugin if an attribute of a class is of a wrong type.

    Types are those that the contract declares.
    """
    if source.origin == "built-in":  # which the tests check
        return
    from vqbench.registry.checking import check_value

    for base in cls.__mro__:
        if base.__module__ != CONTRACTS[kind][0]:
            continue
        for name, annotation in inspect.get_annotations(base, eval_str=True).items():
            origin: Any = typing.get_origin(annotation)
            if origin is typing.ClassVar and hasattr(cls, name):
                value, [wanted] = getattr(cls, name), typing.get_args(annotation)
                if hasattr(value, "__get__"):  # a property, so of the instance
                    continue
                value = tuple(value) if isinstance(value, list) else value
                try:
                    check_value(f"{kind[:-1]} {source.name!r} ({source}): {cls.__name__}.{name}", value, wanted, True)
                except UsageError as error:
                    raise BrokenPlugin(str(error)) from None


def presets(kind: Kind) -> dict[str, tuple[str, Mapping[str, Any]]]:
    """Published variants that classes name: preset -> (plugin, arguments).

    Broken plugins are left out. Of two with one name, the built-in one counts.
    """
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for name, source in sorted(sources(kind).items(), key=lambda item: item[1].origin != "built-in"):
        try:
            cls = _class_of(kind, source)
        except UsageError:
            continue  # `vqbench list` shows it with its cause, and loading it by its name raises the error
        for preset, args in getattr(cls, "presets", {}).items():
            found.setdefault(preset, (name, args))
    return found


def find(kind: Kind, name: str) -> tuple[str, type[Any], Mapping[str, Any]]:
    """Find a plugin or preset: plugin's name, class, preset's arguments."""
    if name not in sources(kind):
        for preset, (plugin, args) in presets(kind).items():
            if preset == name:
                return plugin, load(kind, plugin), args
    return name, load(kind, name), {}


def lacks(kind: Kind, name: str) -> str:
    """A sentence on missing packages that a plugin needs; empty if none.

    It says how to install them.
    """
    return lacking(f"{kind[:-1]} {name!r}", load(kind, name))


def lacking(subject: str, cls: type) -> str:
    """The sentence of :func:`lacks` for a class, which it calls ``subject``."""
    absent = [module for module in getattr(cls, "packages", ()) if not _installed(module)]
    if not absent:
        return ""
    what = getattr(cls, "install", "") or " ".join(absent)
    return f"{subject} needs {' and '.join(absent)}, which is not installed: pip install {what}"


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def create(kind: Kind, name: str, /, **args: Any) -> Any:
    """Create an instance of a plugin.

    Args:
        kind: its kind, such as "quantizers".
        name: its own name, not that of a preset.
        **args: all arguments of its constructor that have no default.

    Raises:
        UsageError: the name is unknown, or the constructor refuses the arguments.
        BrokenPlugin: the plugin cannot be loaded, or its constructor fails in another way.
    """
    cls = load(kind, name)
    with contained(kind, name):
        return cls(**args)


@contextmanager
def contained(kind: Kind, name: str) -> Iterator[None]:
    """Turn every error in code of the plugin ``name`` into BrokenPlugin.

    The code may be a stranger's.
    """
    try:
        yield
    except VqbenchError:
        raise
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(f"{kind[:-1]} {name!r} ({sources(kind)[name]}) fails: {cause(error)}") from error


def cause(error: BaseException) -> str:
    """What was raised, in one line, with the line of the innermost call."""
    message = " ".join(str(error).split())
    last = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({Path(last[0].filename).name}, line {last[0].lineno})" if last else ""
    return f"{type(error).__name__}: {message[:200]}{'...' if len(message) > 200 else ''}{where}"


# Versions -------------------------------------------------------------------------------------------------------------


def source(kind: Kind, name: str) -> str | None:
    """The digest of a plugin file's syntax tree, as it was imported.

    None for plugins that are not files of the user's. Built-in and packaged plugins raise their VERSION by hand
    instead.
    """
    found = sources(kind).get(name)
    if found is None or found.origin != "file" or name in built_in(kind):
        return None
    return discovery.digest_of(Path(str(found.where)))


def version(kind: Kind, name: str) -> int:
    """The VERSION of a plugin, by which its values are told apart.

    For a file of the user's, a number that follows from its content is added.
    """
    content = source(kind, name)
    own: int = load(kind, name).VERSION
    return own + (0 if content is None else 1000 * int(content[:10], 16))


def require_same(kind: Kind, name: str, planned: str | None) -> None:
    """Raise ChangedPlugin if a plugin was edited since a run was planned.

    ``planned`` is its :func:`source` then.
    """
    load(kind, name)
    if source(kind, name) != planned:
        raise ChangedPlugin(
            f"{kind[:-1]} {name!r} ({sources(kind)[name]}) was edited since this run was planned; `vqbench run` trains "
            "it anew as it is now"
        )


def digest(kind: Kind, name: str) -> str:
    """The sha256 of a plugin's code, without importing it if possible.

    For a file of the user's it is its :func:`source`; for an installed package it covers the version and all Python
    files of the package, since one may build on another.
    """
    plugin = name if name in sources(kind) else find(kind, name)[0]
    if content := source(kind, plugin):
        return content
    found = sources(kind)[plugin]
    path = found.path()
    if path is None:
        return "unknown"
    code = hashlib.sha256()
    if isinstance(found.where, EntryPoint):
        code.update((found.where.dist.version if found.where.dist else "").encode())
    for file in sorted(path.parent.rglob("*.py")) if path.name == "__init__.py" else [path]:
        code.update(file.read_bytes())
    return code.hexdigest()
