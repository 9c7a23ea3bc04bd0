"""Format text: aligned columns, a few of many sentences, files in UTF-8."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vqbench.errors import StoreError
from vqbench.system.console import one_line, visible

NAMED = 10  # damaged files that one command names


def few(sentences: Iterable[str]) -> list[str]:
    """Return the first ten ``sentences`` about unreadable files.

    One more counts the rest.
    """
    sentences = list(sentences)
    more = len(sentences) - NAMED
    return [*sentences[:NAMED], *([f"and {more} more files cannot be read"] if more > 0 else [])]


def grid(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Align ``rows`` under ``head`` as plain text, every cell on one line."""
    from tabulate import tabulate

    cells = [[one_line(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    return tabulate(cells, headers=list(head), tablefmt="plain", disable_numparse=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, with codes for control characters.

    The locale does not matter. Raises StoreError, also for a pipe without a reader, instead of waiting.
    """
    try:
        with open(path, "w", encoding="utf-8", newline="", opener=_open_without_waiting) as file:
            file.write(visible(text))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


def _open_without_waiting(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor
