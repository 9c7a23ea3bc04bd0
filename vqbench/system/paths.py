"""Paths as users write them: of the command line, of suites, and of the environment."""

from __future__ import annotations

import os
from pathlib import Path

from vqbench.errors import UsageError, shortened


def path_of(text: str | Path, name: str = "") -> Path:
    """The path ``text``, a leading ~ expanded; ``name`` is the variable that it was read from, if it was.

    Raises UsageError where the system can say nothing about it: too long, a loop of links, a folder that may not be
    entered, an unknown user's home.
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
        what = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{start}{shortened(str(text), 100)}: not a usable path ({what}); give another one") from None
    return path
