"""Plugins by name: built-in ones, the user's files, installed packages.

>>> from vqbench import registry
>>> "vq" in registry.names("quantizers")
True
"""

from vqbench.registry.arguments import checked, parameters, refresh, resolve
from vqbench.registry.contracts import CONTRACTS, BrokenPlugin, ChangedPlugin, Kind
from vqbench.registry.discovery import PluginSource, added, names, refused, sources
from vqbench.registry.loading import add_file, contained, create, find, lacking, lacks, load, presets
from vqbench.registry.plugin_files import files
from vqbench.registry.versions import digest, require_same, source, version

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
