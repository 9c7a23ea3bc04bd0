"""Find assets in the user's folder and our cache, and remember digests."""

from __future__ import annotations

import fnmatch
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
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
_remembered: dict[str, dict[str, Any]] = {}  # the ledger of this process, for a cache that cannot be written


def cache_folder() -> Path:
    """Return our folder: ``VQBENCH_CACHE``, else in the user's cache folder."""
    own = os.environ.get("VQBENCH_CACHE")
    return path_of(own, "VQBENCH_CACHE").absolute() if own else Path(platformdirs.user_cache_dir("vqbench"))


def data_folder() -> Path | None:
    """Return the user's folder, ``VQBENCH_DATA``, if set; it is only read."""
    own = os.environ.get("VQBENCH_DATA")
    return path_of(own, "VQBENCH_DATA").absolute() if own else None


def candidates(asset: Asset, folder: Path) -> Iterator[tuple[Path, Form]]:
    """Yield the files below ``folder`` whose names are those of ``asset``.

    Cheaper forms come first, then nearer folders.
    """
    return fitting(asset, list(files_below(folder)))


def fitting(asset: Asset, files: Sequence[Path]) -> Iterator[tuple[Path, Form]]:
    """Yield those of ``files`` that ``asset`` may be in, cheaper forms first."""
    for form in asset.forms:
        yield from ((path, form) for path in files if fnmatch.fnmatchcase(path.name, form.pattern))


def form_of(asset: Asset, path: Path) -> Form:
    """Return the form of ``path`` by its name."""
    return next(form for form in asset.forms if fnmatch.fnmatchcase(path.name, form.pattern))


def files_below(folder: Path) -> Iterator[Path]:
    """Yield all files below ``folder``, level by level.

    Links to folders are followed, but each folder is entered once.
    """
    waiting, entered = deque([folder]), set()
    while waiting:
        here = waiting.popleft()
        real = os.path.realpath(here)
        if real in entered:
            continue
        entered.add(real)
        with suppress(OSError):  # a folder that cannot be read is skipped
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
    """Return what :func:`remember` noted of ``path``, unless it has changed."""
    entry = _remembered.get(_key(asset, path)) or _read_ledger().get(_key(asset, path))
    if not isinstance(entry, dict) or entry.get("stamp") != _stamp(path):
        return None
    known = entry.get("holds")
    return known if isinstance(known, dict) and all(isinstance(value, str) for value in known.values()) else None


def remember(asset: Asset, path: Path, known: dict[str, str]) -> None:
    """Note the digests of ``path`` for this process and later ones."""
    entry = {"stamp": _stamp(path), "holds": known}
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
    except (OSError, ValueError, RecursionError):  # missing or damaged: nothing is remembered
        return {}
    return ledger if isinstance(ledger, dict) else {}
