"""Find the sources of plugins without importing them, and import files.

Plugins are in built-in folders, in files that the user names, and in installed packages with entry points. All three
are treated alike: a module (a file) offers the classes defined in it that fulfil a contract. A module is imported only
when one of its names is used, so that listing names needs no torch, and a broken plugin affects only suites that name
it.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from vqbench.errors import UsageError

Kind = Literal["quantizers", "metrics", "datasets", "backbones", "recipes"]

# The contract that a plugin of a kind fulfils: module and class, imported only when a plugin is.
CONTRACTS: Mapping[Kind, tuple[str, str]] = {
    "quantizers": ("vqbench.quantizer", "Quantizer"),
    "metrics": ("vqbench.metric", "Metric"),
    "datasets": ("vqbench.dataset", "Dataset"),
    "backbones": ("vqbench.backbone", "Backbone"),
    "recipes": ("vqbench.recipe", "Recipe"),
}


class BrokenPlugin(UsageError):
    """A plugin that exists but cannot be used.

    Suites that do not name it are not affected.
    """


class ChangedPlugin(UsageError):
    """A plugin's file that was edited since the run was planned.

    Runs without the plugin are not affected.
    """


# Files ----------------------------------------------------------------------------------------------------------------

_files: dict[Path, str] = {}  # files added by the user -> name of the module they become
_imported: dict[Path, tuple[bytes, str]] = {}  # those that were imported -> their text then, and its digest


def files() -> tuple[Path, ...]:
    """The files that were added, so that another process can add the same."""
    return tuple(_files)


def offer(path: Path) -> None:
    """Add ``path`` to the files."""
    _files[path] = _module_name(path)


def _module_name(path: Path) -> str:
    return f"vqbench_plugin_{path.stem}"


def was_edited(path: Path) -> bool:
    """Whether ``path`` was edited since it was imported."""
    return path in _imported and _imported[path][0] != path.read_bytes()


def digest_of(path: Path) -> str:
    """The digest of the syntax tree of a file, as it was when it was imported."""
    return _imported[path][1]


@cache
def import_file(path: Path) -> ModuleType:
    """Import a file of the user's as a module."""
    from vqbench.system import source_digest

    spec = importlib.util.spec_from_file_location(_module_name(path), path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles inside the plugin look their module up by name
    content = path.read_bytes()
    exec(compile(content, str(path), "exec", dont_inherit=True), vars(module))  # this text, not a compiled older one
    _imported[path] = content, source_digest.digest(content, path.parent)
    return module


# Sources --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PluginSource:
    """The source of a plugin, before it is imported."""

    name: str
    origin: Literal["built-in", "file", "package"]
    where: str | EntryPoint  # a module's name, a file's path, or an entry point

    def load(self) -> ModuleType | type:
        """Import the module, or the class that an entry point names."""
        if isinstance(self.where, EntryPoint):
            offered: ModuleType | type = self.where.load()
            return offered
        if self.origin == "built-in":
            return importlib.import_module(self.where)
        return import_file(Path(self.where))

    def path(self) -> Path | None:
        """The plugin's file; None if it cannot be found.

        For an installed package, that of the outermost module.
        """
        if self.origin == "file":
            return Path(str(self.where))
        module = self.where.module.split(".")[0] if isinstance(self.where, EntryPoint) else self.where
        try:
            spec = importlib.util.find_spec(module)
        except (ImportError, ValueError):  # it is broken, which loading it reports
            return None
        return Path(spec.origin).resolve() if spec and spec.origin else None

    def __str__(self) -> str:
        return self.where.value if isinstance(self.where, EntryPoint) else self.where


@cache
def sources(kind: Kind) -> Mapping[str, PluginSource]:
    """All plugins of ``kind`` by name.

    Only the user's own files are imported; they win over packages. A package or file never takes a built-in name, since
    runs are named by it; see :func:`refused`.
    """
    found = {entry.name: PluginSource(entry.name, "package", entry) for entry in _entries(kind)} | built_in(kind)
    for path in files():  # imported, since that alone shows which kind of plugin a file offers
        source = PluginSource(path.stem, "file", str(path))
        if classes(kind, source):
            found[path.stem] = source
    return dict(sorted(found.items()))


@cache
def built_in(kind: Kind) -> dict[str, PluginSource]:
    """The plugins of ``kind`` that belong to vqbench, by name."""
    package = importlib.import_module(f"vqbench.{kind}")
    return {
        module.name: PluginSource(module.name, "built-in", f"vqbench.{kind}.{module.name}")
        for module in pkgutil.iter_modules(package.__path__)
        if not module.ispkg and not module.name.startswith("_")
    }


def _entries(kind: Kind) -> list[EntryPoint]:
    """The entry points of installed packages.

    Their order does not depend on that of the installation.
    """
    return sorted(entry_points(group=f"vqbench.{kind}"), key=lambda entry: (entry.name, entry.value), reverse=True)


def refused(kind: Kind) -> dict[str, str]:
    """Plugins of installed packages whose name is taken: place -> reason."""
    used = {source.where for source in sources(kind).values()}
    return {
        f"{entry.name} ({entry.value})": f"the name {entry.name!r} is taken by {sources(kind)[entry.name]}"
        for entry in _entries(kind)
        if entry not in used
    }


def names(kind: Kind) -> list[str]:
    """The names of all plugins of ``kind``, without those of presets."""
    return list(sources(kind))


def added(kind: Kind) -> list[str]:
    """The names of those plugins of ``kind`` that are files of the user's."""
    return [name for name, source in sources(kind).items() if source.origin == "file"]


@cache
def classes(kind: Kind, source: PluginSource) -> list[type]:
    """The classes of a source that fulfil the contract of ``kind``.

    Classes that it merely imports are left out.

    Raises BrokenPlugin if it cannot be imported.
    """
    try:
        offered = source.load()
    except (Exception, SystemExit) as error:  # a stranger's module may fail in any way
        raise BrokenPlugin(f"{kind[:-1]} {source.name!r} ({source}) cannot be imported: {error!r:.300}") from error
    module, name = CONTRACTS[kind]
    contract = getattr(importlib.import_module(module), name)
    members: list[Any] = list(vars(offered).values()) if inspect.ismodule(offered) else [offered]
    members = [member for member in members if inspect.isclass(member) and issubclass(member, contract)]
    if inspect.isclass(offered):
        return members
    own = f"{getattr(offered, '__name__', '')}."  # the module's, or those of the files below it if it is a package
    return [member for member in dict.fromkeys(members) if f"{member.__module__}.".startswith(own)]
