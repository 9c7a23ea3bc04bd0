"""Delete files of a results folder, and nothing outside of it.

Links are never followed.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from vqbench.errors import StoreError, Unwritable
from vqbench.system import locks
from vqbench.system.stored_files import half_written

RUN_FOLDER = re.compile(r"\w[\w.+-]*-[0-9a-f]{16}")  # of a run; see ResultStore
SUITE_SECONDS = 3600.0  # after which a half-written resolved suite is a leftover


def within(folder: Path, path: Path) -> bool:
    """Return whether ``path`` is in ``folder``, without any link on the way.

    ``path`` itself must not be a link either.
    """
    try:
        return not path.is_symlink() and path.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def delete(folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Delete ``paths``, files or folders, that are in ``folder``.

    Return those that were left, because they are links or outside.

    Raises Unwritable where the file system refuses.
    """
    left = []
    for path in paths:
        if not within(folder, path):
            if os.path.lexists(path):
                left.append(path)
            continue
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise Unwritable(f"{path}: cannot be deleted ({error.strerror or error}); check its permissions") from error
    return left


def tidy(root: Path, keep: Collection[str] = ()) -> list[str]:
    """Remove what killed processes have left in the results folder ``root``.

    Return a sentence for each removed path.

    Removed are half-written files of runs that no process works on, and empty folders of runs. Checkpoints stay, and
    so do the folders of runs whose keys are in ``keep``. Folders without write permission are left as they are. Half
    a resolved suite, which takes milliseconds to write, is removed after an hour.
    """
    sentences = _tidied_suites(root)
    with suppress(OSError), os.scandir(root) as entries:
        folders = [
            Path(each.path)
            for each in entries
            if RUN_FOLDER.fullmatch(each.name) and each.is_dir(follow_symlinks=False)
        ]
        for folder in sorted(folders):
            with suppress(StoreError, OSError):
                sentences += _tidied(root, folder, folder.name.rpartition("-")[2] in keep)
    return sentences


def _tidied_suites(root: Path) -> list[str]:
    """Remove half-written resolved suites, and return the sentences."""
    sentences: list[str] = []
    with suppress(StoreError, OSError):
        paths = half_written(root / "suites") if within(root, root / "suites") else []
        old = [path for path in paths if time.time() - path.stat().st_mtime > SUITE_SECONDS]
        left = delete(root, old)
        sentences = [f"{path}: removed; a killed process had half written it" for path in old if path not in left]
    return sentences


def _tidied(root: Path, folder: Path, keep: bool) -> list[str]:
    """Do the same for one run's ``folder``, and return the sentences.

    The folder is checked before its lock is touched, and again under the lock.
    """
    if not (half_written(folder) or (_is_empty(folder) and not keep)) or locks.is_locked(folder):
        return []
    with locks.lock_folder(folder) as locked:
        if not locked:
            return []
        sentences = clear(root, folder)
        if _is_empty(folder) and not keep:
            delete(root, [folder])
            sentences.append(f"{folder}: removed; it was empty, left by a killed or stopped process")
    return sentences


def clear(root: Path, folder: Path) -> list[str]:
    """Remove half-written files in a run's ``folder``; return a sentence for each.

    This process must have locked the run.
    """
    if not folder.is_dir():
        return []
    paths = half_written(folder)
    left = set(delete(root, paths))
    return [f"{path}: removed; a killed process had half written it" for path in paths if path not in left]


def _is_empty(folder: Path) -> bool:
    return not set(os.listdir(folder)) - {locks.LOCK_NAME}
