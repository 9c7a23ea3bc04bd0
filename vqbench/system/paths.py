"""Parse paths of the command line, of suites and of environment variables."""

from __future__ import annotations

import os
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
