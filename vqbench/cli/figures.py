"""Compare the figures in documents with what their commands print now.

A region begins with a comment that holds the command, ``<!-- $ vqbench table ... -->``, and ends with ``<!-- end -->``.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from vqbench.errors import Interrupted, StoreError, UsageError, VqbenchError, shortened
from vqbench.store.verifying import Fault
from vqbench.system import stored_files

REGION = re.compile(r"<!-- \$ vqbench (?P<words>[^\n]*?) -->\n(?P<printed>.*?)<!-- end -->", re.DOTALL)
BEGINNING = re.compile(r"^<!-- \$ vqbench [^\n]*? -->$", re.MULTILINE)
PRINTING = ("table", "diff", "status", "plan", "list", "info", "profile")  # commands that only print, but for -o
LIMIT = 10_000_000  # bytes of a document


@dataclass(frozen=True)
class Figures:
    """One region of a document: the command and what the document says it prints."""

    path: Path
    line: int  # of the comment, from 1
    command: str
    printed: str


def beside(store: Path) -> list[Path]:
    """Return the documents of a results folder.

    They are the README.md in it, and README.md and docs/ beside it.
    """
    folder = store.parent if store.name not in ("", "..") else store.resolve().parent
    return [path for path in (store / "README.md", folder / "README.md", folder / "docs") if path.exists()]


def regions(documents: Iterable[Path]) -> Iterator[Figures | Fault]:
    """Yield all regions of ``documents``, Markdown files or folders of them.

    A region without an end is a fault. Raises StoreError for a document that cannot be read.
    """
    for document in documents:
        for path in sorted(document.rglob("*.md")) if document.is_dir() else [document]:
            try:
                text = stored_files.content(path, LIMIT).decode("utf-8")
            except (OSError, ValueError) as error:
                raise StoreError(f"{path}: not a readable document ({error}); name another --document") from None
            found = {match.start(): match for match in REGION.finditer(text)}
            for start in sorted({*found, *(match.start() for match in BEGINNING.finditer(text))}):
                line = text.count("\n", 0, start) + 1
                if (match := found.get(start)) is None:
                    yield Fault(Path(f"{path}:{line}"), "these figures have no <!-- end --> of their own; write it")
                else:
                    yield Figures(path, line, f"vqbench {match['words']}", match["printed"])


def compare(documents: Iterable[Path], store: Path, program: Any) -> tuple[int, list[Fault]]:
    """Run the commands of ``documents`` that read ``store``, and compare.

    Return the number of regions compared, and what is wrong. ``program`` is the group of all commands. Commands run
    beside ``store``, for which they are written.
    """
    count, faults = 0, []
    store = store.resolve()
    for figures in regions(documents):
        if isinstance(figures, Fault):
            faults.append(figures)
            continue
        try:
            with chdir(store.parent):
                words = _words(figures.command)
                if not _reads(program, words, store):
                    continue
                fault = _difference(figures, _output(program, words))
        except VqbenchError as error:
            about = f"`{shortened(figures.command, 100)}` fails: {error}"
            fault = Fault(Path(f"{figures.path}:{figures.line}"), about)
        count += 1
        faults += [fault] if fault else []
    return count, faults


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)[1:]
    except ValueError as error:
        raise UsageError(f"not a command line ({error})") from None


def _difference(figures: Figures, now: str) -> Fault | None:
    """Return the first line in which a document differs from its command."""
    for number, lines in enumerate(zip_longest(figures.printed.splitlines(), now.splitlines()), 1):
        if lines[0] != lines[1]:
            was, gives = (shortened(" ".join((line or "no line").split()), 100) for line in lines)
            about = f"{was!r}, but `{shortened(figures.command, 100)}` gives {gives!r}"
            return Fault(Path(f"{figures.path}:{figures.line + number}"), about)
    return None


def _reads(program: Any, words: list[str], store: Path) -> bool:
    """Return whether a command reads ``store``.

    Raises UsageError for a wrong command, and for one on ``store`` that does more than print.
    """
    if not words or words[0] not in program.commands:
        raise UsageError("no command of this version")
    try:
        values = program.commands[words[0]].make_context(words[0], words[1:]).params
    except Exception as error:  # each version of typer has its own class of click's errors
        raise UsageError(str(getattr(error, "message", error))) from None
    paths = [value for value in values.values() if isinstance(value, Path)]
    paths += [Path(str(values[name])) for name in ("a", "b") if words[0] == "diff"]
    if not any(path.resolve().is_relative_to(store) for path in paths):
        return False
    writes = values.get("output") is not None or (words[0] == "profile" and not values.get("show"))
    if words[0] not in PRINTING or writes:
        raise UsageError("it does more than print stored values, so it is not run")
    return True


def _output(program: Any, words: list[str]) -> str:
    out, messages = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(messages):
        code = program.main(args=words, prog_name="vqbench", standalone_mode=False)
    if code == Interrupted.exit_code:  # of KeyboardInterrupt, which typer catches
        raise KeyboardInterrupt
    if code:
        raise StoreError(messages.getvalue().strip().rpartition("\n")[2] or f"exit code {code}")
    return out.getvalue()
