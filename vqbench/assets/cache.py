"""The two folders of assets on this machine, the user's and ours, and what is remembered of the files in them."""

from __future__ import annotations

import fnmatch
import json
import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from vqbench.assets.content import digest, replacing
from vqbench.system.files import MB, read_regular
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from vqbench.assets.catalogue import Asset
    from vqbench.assets.forms import Form

LEDGER = 50 * MB
_remembered: dict[str, dict[str, Any]] = {}  # as in the ledger, for caches that cannot be written


def cache_folder() -> Path:
    """Our folder: ``VQBENCH_CACHE``, else the one that the system gives to programs for their caches."""
    own = os.environ.get("VQBENCH_CACHE")
    return path_of(own, "VQBENCH_CACHE").absolute() if own else Path(platformdirs.user_cache_dir("vqbench"))


def data_folder() -> Path | None:
    """The user's folder: ``VQBENCH_DATA``, if it is set. Nothing in it is ever changed."""
    own = os.environ.get("VQBENCH_DATA")
    return path_of(own, "VQBENCH_DATA").absolute() if own else None


def candidates(asset: Asset, folder: Path) -> Iterator[tuple[Path, Form]]:
    """The files below ``folder`` that look like ``asset`` by their names; cheaper forms, nearer folders first."""
    files = list(_files(folder))
    for form in asset.forms:
        yield from ((path, form) for path in files if fnmatch.fnmatchcase(path.name, form.pattern))


def form_of(asset: Asset, path: Path) -> Form:
    """The form in which ``path`` is, if its name is one of the canonical form's."""
    return next(form for form in asset.forms if fnmatch.fnmatchcase(path.name, form.pattern))


def _files(folder: Path) -> Iterator[Path]:
    """All files below ``folder``, level by level; links to folders are followed, but each folder is entered once."""
    waiting, entered = deque([folder]), set()
    while waiting:
        here = waiting.popleft()
        real = os.path.realpath(here)
        if real in entered:
            continue
        entered.add(real)
        with suppress(OSError):  # a folder that may not be read holds nothing for us
            for entry in sorted(os.scandir(here), key=lambda entry: entry.name):
                if entry.is_dir():
                    waiting.append(Path(entry.path))
                elif entry.is_file():
                    yield Path(entry.path)


def digests(asset: Asset, path: Path, form: Form | None = None) -> dict[str, str]:
    """Return the digests of the content of ``path``, by canonical file name.

    They are computed once for each state of the file. ``form`` is found by the file's name if None. Any error of a
    reader on a damaged file is passed on.
    """
    known = recall(asset, path)
    if known is None:
        known = {file: digest(content, asset.algorithm) for file, content in (form or form_of(asset, path)).read(path)}
        remember(asset, path, known)
    return known


def recall(asset: Asset, path: Path) -> dict[str, str] | None:
    """What ``remember`` was told about ``path``, unless its size or time of change is another since."""
    entry = _remembered.get(_key(asset, path)) or _read_ledger().get(_key(asset, path))
    if not isinstance(entry, dict) or entry.get("stamp") != _stamp(path):
        return None
    holds = entry.get("holds")
    return holds if isinstance(holds, dict) and all(isinstance(value, str) for value in holds.values()) else None


def remember(asset: Asset, path: Path, holds: dict[str, str]) -> None:
    """Note what ``path`` holds, in this process and, if the cache can be written, for later ones."""
    entry = {"stamp": _stamp(path), "holds": holds}
    _remembered[_key(asset, path)] = entry
    ledger = _read_ledger() | {_key(asset, path): entry}
    with suppress(OSError), replacing(_ledger()) as file:  # else it is computed again next time
        file.write(json.dumps(ledger, indent=1).encode())


def _key(asset: Asset, path: Path) -> str:
    return f"{asset.name}:{path}"


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _ledger() -> Path:
    return cache_folder() / "verified.json"


def _read_ledger() -> dict[str, dict[str, Any]]:
    try:
        ledger = json.loads(read_regular(_ledger(), LEDGER))
    except (OSError, ValueError, RecursionError):  # none yet, or none that can be read: then nothing is remembered
        return {}
    return ledger if isinstance(ledger, dict) else {}
