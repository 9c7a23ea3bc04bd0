"""What a command found, as text and as data, and the files that it could not read."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqbench.errors import StoreError
from vqbench.system.console import one_line, visible

NAMED = 10  # damaged files that one command names


@dataclass(frozen=True)
class CommandOutput:
    """What a command found: for people, and for programs."""

    text: str
    data: Any
    damage: Sequence[str] = ()  # files that could not be read, a sentence each


def name_damage(sentences: Iterable[str]) -> None:
    """Print on stderr which files could not be read, at most ten of them."""
    sentences = list(sentences)
    for sentence in sentences[:NAMED]:
        print(f"vqbench: {sentence}", file=sys.stderr)
    if len(sentences) > NAMED:
        print(f"vqbench: and {len(sentences) - NAMED} more files cannot be read", file=sys.stderr)


def require_sound(sentences: Iterable[str]) -> None:
    """Raises StoreError, once all is shown that could be read, if there are files that could not."""
    *others, last = [*sentences] or [""]
    name_damage(others)
    if last:
        raise StoreError(last)


def grid(head: list[str], rows: list[list[Any]]) -> str:
    from tabulate import tabulate

    cells = [[one_line(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    return tabulate(cells, headers=head, tablefmt="plain", disable_numparse=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8, whatever the locale, with what is hidden in it made visible.

    Raises StoreError, also for a pipe that nobody reads, instead of waiting.
    """
    try:
        with open(path, "w", encoding="utf-8", newline="", opener=_without_waiting) as file:
            file.write(visible(text))
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror})") from error


def _without_waiting(path: str, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(descriptor, True)
    return descriptor
