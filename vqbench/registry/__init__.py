"""Plugins by name: built-in ones, the user's files, installed packages.

>>> from vqbench import registry
>>> "vq" in registry.names("quantizers")
True
"""

from vqbench.registry.arguments import checked, parameters, refresh, resolve
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
    contained,
    create,
    digest,
    find,
    lacking,
    lacks,
    load,
    presets,
    require_same,
    source,
    version,
)

__all__ = [
    "CONTRACTS",
    "BrokenPlugin",
    "ChangedPlugin",
    "Kind",
    "PluginSource",
    "add_file",
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
