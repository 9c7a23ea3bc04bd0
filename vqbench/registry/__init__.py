"""Plugins by name: built-in ones, the user's files, installed packages.

>>> from vqbench import registry
>>> "vq" in registry.names("quantizers")
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from vqbench.registry.discovery import (
    CONTRACTS,
    BrokenPlugin,
    ChangedPlugin,
    Kind,
    PluginSource,
    added,
    files,
    names,
    refused,
    sources,
)
from vqbench.registry.loading import (
    add_file,
    add_files,
    contained,
    create,
    digest,
    find,
    lacking,
    lacks,
    load,
    offered,
    presets,
    require_same,
    source,
    version,
)

if TYPE_CHECKING:
    from vqbench.registry.arguments import checked, parameters, refresh, resolve

__all__ = [
    "CONTRACTS",
    "BrokenPlugin",
    "ChangedPlugin",
    "Kind",
    "PluginSource",
    "add_file",
    "add_files",
    "added",
    "checked",
    "contained",
    "create",
    "digest",
    "files",
    "find",
    "lacking",
    "lacks",
    "load",
    "names",
    "offered",
    "parameters",
    "presets",
    "refresh",
    "refused",
    "require_same",
    "resolve",
    "source",
    "sources",
    "version",
]

if not TYPE_CHECKING:  # type checkers and editors read the import above, and know a wrong name

    def __getattr__(name: str) -> object:
        """Import a name of ``arguments``, which loading a plugin does not need."""
        if name not in ("checked", "parameters", "refresh", "resolve"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("vqbench.registry.arguments"), name)
