"""Format text: aligned columns, a few of many sentences, files in UTF-8."""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vqbench.errors import StoreError
from vqbench.system.console import one_line, visible

LINE = 110  # columns of running text, however wide the terminal
DEVICES = ("dev",), ("proc",)  # folders whose entries may lead to a file that is open, such as standard output
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


def shared_columns(columns: dict[str, list[Any]], *heads: str) -> str:
    """Remove columns of one value, if among ``heads``; return them as a sentence.

    >>> columns = {"row": ["a", "b"], "seed": [42, 42]}
    >>> shared_columns(columns, "seed"), columns
    ('All rows: seed 42.', {'row': ['a', 'b']})
    """
    common = [f"{head} {columns.pop(head)[0]}" for head in heads if len(set(columns[head])) == 1]
    return f"All rows: {', '.join(common)}." if common else ""


def width() -> int:
    """Return the number of columns that printed text should fit.

    Those of the terminal or of ``COLUMNS``, between 40 and 200, or 80 where standard output is a file or a pipe.
    """
    return max(40, min(200, shutil.get_terminal_size((80, 24)).columns))


def fold(text: str, indent: str = "", columns: int | None = None) -> str:
    """Wrap ``text`` to the terminal; all lines after the first start with ``indent``.

    Words are not broken, so that commands and paths can be copied.
    """
    return textwrap.fill(
        text,
        min(columns or width(), LINE),
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    )


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, with codes for control characters.

    The locale does not matter, and a missing folder is made. A file that exists is replaced as a whole or not at all.
    Raises StoreError, also for a pipe without a reader, instead of waiting.
    """
    from vqbench.system.stored_files import write_atomically

    if path.parts[1:2] not in DEVICES and (path.is_file() or not path.exists()):
        write_atomically(path.resolve(), visible(text).encode("utf-8"))
        return
    try:
        with open(path, "w", encoding="utf-8", newline="", opener=_open_without_waiting) as file:
            file.write(visible(text))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


def _open_without_waiting(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor
