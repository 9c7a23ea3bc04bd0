"""Versions and digests of plugins, which change when one is edited."""

from __future__ import annotations

import hashlib
from importlib.metadata import EntryPoint
from pathlib import Path

from vqbench.registry import plugin_files
from vqbench.registry.contracts import ChangedPlugin, Kind
from vqbench.registry.discovery import built_in, sources
from vqbench.registry.loading import find, load


def source(kind: Kind, name: str) -> str | None:
    """The digest of a plugin file's syntax tree, as it was imported.

    None for plugins that are not files of the user's. Built-in and packaged plugins raise their VERSION by hand
    instead.
    """
    found = sources(kind).get(name)
    if found is None or found.origin != "file" or name in built_in(kind):
        return None
    return plugin_files.digest_of(Path(str(found.where)))


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
