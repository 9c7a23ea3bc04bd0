"""Plugins in files that the user names: which files, and their modules."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

from vqbench.system import source_digest

_files: dict[Path, str] = {}  # files added by the user -> name of the module they become
_imported: dict[Path, tuple[bytes, str]] = {}  # those that were imported -> their text then, and its digest


def files() -> tuple[Path, ...]:
    """The files that were added, so that another process can add the same."""
    return tuple(_files)


def offer(path: Path) -> None:
    """Add ``path`` to the files."""
    _files[path] = f"vqbench_plugin_{path.stem}"


def was_edited(path: Path) -> bool:
    """Whether ``path`` was edited since it was imported."""
    return path in _imported and _imported[path][0] != path.read_bytes()


def digest_of(path: Path) -> str:
    """The digest of the syntax tree of a file, as it was when it was imported."""
    return _imported[path][1]


@cache
def import_file(path: Path) -> ModuleType:
    """Import one of the files as a module."""
    spec = importlib.util.spec_from_file_location(_files[path], path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles inside the plugin look their module up by name
    content = path.read_bytes()
    exec(compile(content, str(path), "exec", dont_inherit=True), vars(module))  # this text, not a compiled older one
    _imported[path] = content, source_digest.digest(content, path.parent)
    return module
