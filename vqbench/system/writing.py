"""Write files whole or not at all, and set damaged ones aside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vqbench.errors import Unwritable


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Raise Unwritable for an error of the operating system."""
    try:
        yield
    except OSError as error:
        raise Unwritable(
            f"{path}: cannot write ({error.strerror or error}); free space or mend its permissions"
        ) from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file, so that it is kept but no longer read.

    Return the new path. Raises Unwritable.
    """
    numbers = ("", *(f".{number}" for number in range(2, 1000)))  # earlier ones are kept
    names = (path.with_name(f"{path.name}.damaged{number}") for number in numbers)
    aside = next((name for name in names if not os.path.lexists(name)), path.with_name(f"{path.name}.damaged"))
    with _writing(path):
        os.replace(path, aside)
    return aside


def write_atomically(path: Path, *content: bytes | memoryview) -> None:
    """Write a file so that a reader sees the old content or the new.

    Never a part of it, even after a power cut. Raises Unwritable; the old file is then unchanged.

    ``content`` may be several pieces, which are written one after the other.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with _writing(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(scratch, "wb") as file:
                file.writelines(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, path)
        except BaseException:
            scratch.unlink(missing_ok=True)
            raise
