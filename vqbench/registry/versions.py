"""Versions and digests of plugins, by which runs, values and kept plans of an edited one are told apart."""

from __future__ import annotations

import hashlib
from importlib.metadata import EntryPoint
from pathlib import Path

from vqbench.registry import plugin_files
from vqbench.registry.contracts import ChangedPlugin, Kind
from vqbench.registry.discovery import built_in, sources
from vqbench.registry.loading import find, load


def source(kind: Kind, name: str) -> str | None:
    """The digest of the syntax tree of a plugin's file, as it was imported; None for all but files of the user's.

    Built-in and packaged plugins raise their VERSION by hand instead.
    """
    found = sources(kind).get(name)
    if found is None or found.origin != "file" or name in built_in(kind):
        return None
    return plugin_files.digest_of(Path(str(found.where)))


def version(kind: Kind, name: str) -> int:
    """The VERSION of a plugin; if it is a file of the user's, plus a number that follows from its content."""
    content = source(kind, name)
    own: int = load(kind, name).VERSION
    return own + (0 if content is None else 1000 * int(content[:10], 16))


def require_same(kind: Kind, name: str, planned: str | None) -> None:
    """Raises ChangedPlugin if :func:`source` of a plugin is no longer what it was when a run was ``planned``."""
    load(kind, name)
    if source(kind, name) != planned:
        raise ChangedPlugin(
            f"{kind[:-1]} {name!r} ({sources(kind)[name]}) was edited since this run was planned; `vqbench run` trains "
            "it anew as it is now"
        )


def digest(kind: Kind, name: str) -> str:
    """The sha256 of a plugin's code, found without importing it where that is possible.

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
