"""Refuse words of ``vqbench measure`` that are ignored, or lose work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from vqbench.cli.options import RUNS, output_folder
from vqbench.errors import UsageError


def require_outputs(output: Path | None, report: Path | None, inputs: Sequence[Path | None]) -> None:
    """Raise UsageError if an output would replace another, or an input."""
    if output is not None and report is not None and _same(output, report):
        raise UsageError(f"{output}: --output and --report are one file; name two")
    for path in (output, report):
        if path is not None and any(each is not None and _same(path, each) for each in inputs):
            raise UsageError(f"{path}: is read, too, and would be replaced; name another file")


def require_format_of_text(style: str, as_json: bool) -> None:
    """Raise UsageError for a format of the table beside JSON, which has none."""
    if as_json and style != "text":
        raise UsageError(f"--format {style} and --json: JSON has no table; give one of them")


def require_store(store: Path) -> None:
    """Raise UsageError for a file in place of the store.

    A folder that is read-only may have the values already.
    """
    if store.exists() and not store.is_dir():
        raise UsageError(f"--store {store}: a file; name a folder, which keeps the values")


def require_runs(runs: Path, written: bool, read: bool) -> None:
    """Raise UsageError for a results folder that is of no use, or cannot be written."""
    if written:
        try:
            output_folder(str(runs))
        except UsageError as error:
            raise UsageError(f"--runs {error}") from None
    elif runs != RUNS and not read:
        raise UsageError(f"--runs {runs}: where a row is written, or the RUN of --model read; leave it out")


def _same(first: Path, second: Path) -> bool:
    if first.exists() and second.exists():
        return os.path.samefile(first, second)
    return first.resolve() == second.resolve()
