"""Delete files of a results folder, and nothing outside of it: links are never followed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path

from vqbench.errors import StoreError, Unwritable
from vqbench.system import locks

# What a process that was killed while it wrote leaves: .NAME.PID, see store.write_atomically.
SCRATCH = re.compile(r"\.[^.].*\.\d+")
RUN_FOLDER = re.compile(r"\w[\w.+-]*-[0-9a-f]{16}")  # DATASET-QUANTIZER-KEY


def is_scratch(name: str) -> bool:
    """Whether a file of this name is one that is written, to be renamed when it is whole.

    >>> is_scratch(".last.pt.4711"), is_scratch("last.pt")
    (True, False)
    """
    return SCRATCH.fullmatch(name) is not None


def within(folder: Path, path: Path) -> bool:
    """Whether ``path`` lies in ``folder``, no link on the way from there leads out, and it is no link itself."""
    try:
        return not path.is_symlink() and path.parent.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        return False


def delete(folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Delete those of ``paths``, files or folders, that lie in ``folder``; those that were left, being links or beyond.

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
    """Remove what killed processes have left in the results folder ``root``; a sentence for each path that went.

    That is half-written files of runs that no process works on, and folders of runs that hold nothing. Checkpoints
    stay, and so do the folders of runs whose keys are in ``keep``. What cannot be written to is left as it is.
    """
    sentences: list[str] = []
    with suppress(OSError), os.scandir(root) as entries:
        folders = [Path(each.path) for each in entries if RUN_FOLDER.fullmatch(each.name) and _is_folder(each)]
        for folder in sorted(folders):
            with suppress(StoreError, OSError):
                sentences += _tidied(root, folder, folder.name.rpartition("-")[2] in keep)
    return sentences


def _tidied(root: Path, folder: Path, keep: bool) -> list[str]:
    """Likewise for one run's ``folder``, which is looked at before its lock is touched, and again under it."""
    if not (_scratch(folder) or (_is_empty(folder) and not keep)) or locks.is_locked(folder):
        return []
    with locks.lock_folder(folder) as held:
        if not held:
            return []
        sentences = clear(root, folder)
        if _is_empty(folder) and not keep:
            delete(root, [folder])
            sentences.append(f"{folder}: removed; it was empty, left by a process that was killed or stopped")
    return sentences


def clear(root: Path, folder: Path) -> list[str]:
    """Remove half-written files in the run's ``folder``, which this process holds; a sentence for each."""
    if not folder.is_dir():
        return []
    gone = _scratch(folder)
    kept = set(delete(root, gone))
    return [f"{path}: removed; a process that was killed had half written it" for path in gone if path not in kept]


def _scratch(folder: Path) -> list[Path]:
    """Files in ``folder``, and in its folders of samples, that a killed process has left half written."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_scratch(entry.name) and not _is_folder(entry):
                found.append(Path(entry.path))
            elif entry.name.endswith(".parts") and _is_folder(entry):
                found += _scratch(Path(entry.path))
    return sorted(found)


def _is_empty(folder: Path) -> bool:
    return not set(os.listdir(folder)) - {locks.LOCK_NAME}


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)
