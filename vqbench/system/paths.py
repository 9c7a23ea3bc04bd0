"""Parse paths of the command line, of suites and of environment variables."""

from __future__ import annotations

import os
from pathlib import Path

from vqbench.errors import UsageError, shortened


def path_of(text: str | Path, name: str = "") -> Path:
    """Return the path ``text`` with a leading ~ expanded.

    ``name`` is the environment variable that it comes from, if any. Raises UsageError for a path that cannot be looked
    up: too long, a loop of links, below a folder without permission, the home of an unknown user.
    """
    start = f"{name}=" if name else ""
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
