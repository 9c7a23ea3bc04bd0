"""Parse paths of the command line, of suites and of environment variables."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from vqbench.errors import UsageError, shortened


def path_of(text: str | Path, name: str = "") -> Path:
    """Return the path ``text`` with a leading ~ expanded.

    ``name`` is the environment variable that it comes from, if any. Raises UsageError for a path that cannot be looked
    up: empty, too long, a loop of links, below a folder without permission, the home of an unknown user.
    """
    start = f"{name}=" if name else ""
    if text == "":  # else it would be the current folder
        raise UsageError(f"{start}'': an empty path, perhaps of a variable that is not set; give . for this folder")
    try:
        path = Path(text).expanduser()
        os.stat(path)
    except FileNotFoundError:
        return path
    except RuntimeError:
        raise UsageError(f"{start}{shortened(str(text), 100)}: no such user; write the folder's path in full") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            f"{start}{shortened(str(text), 100)}: not a usable path ({reason}); give another one"
        ) from None
    return path


def is_file(path: str | Path) -> bool:
    """Return whether a word of the user's is the path of a file.

    It is not where the system refuses an answer, as for a name that is too long.
    """
    with suppress(OSError, ValueError):
        return os.path.exists(path) and not os.path.isdir(path)
    return False


def is_folder(path: str | Path) -> bool:
    """Return whether a word of the user's is the path of a folder."""
    with suppress(OSError, ValueError):
        return os.path.isdir(path)
    return False


def require_writable(path: Path) -> None:
    """Raise UsageError unless a file or folder can be written at ``path``.

    Missing folders above it count as made when it is written. Nothing is left behind, and pipes and devices are not
    opened.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        return
    target = path.resolve()
    place = next(each for each in (target, *target.parents) if each.exists())
    folder = place.parent if place == target and target.is_file() else place
    if not folder.is_dir():
        raise UsageError(f"{path}: cannot be written, since {folder} is a file; name another place")
    try:
        if target.is_file():
            open(target, "r+b").close()
        tempfile.TemporaryFile(prefix=".vqbench-", dir=folder).close()  # permissions say too little, as for root
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror or error}); name another place") from None
