"""Which rows of a suite are wanted: ``--only``, ``--skip``, and rows for the quantizers that ``--plugin`` brings.

The result are overrides, so that such a suite is a variant of its file, under a name of its own among the resolved
suites of a store, while its runs are the same runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from vqbench import registry
from vqbench.errors import UsageError, nearest
from vqbench.planning.overrides import Override
from vqbench.planning.suite import QuantizerRow, SuiteSpec


def select_rows(suite: SuiteSpec, only: Sequence[str] = (), skip: Sequence[str] = ()) -> list[Override]:
    """The override that leaves the wanted rows of ``suite``; none if these are all that it has.

    A quantizer in a file of the user's that no row names gets a row, with its defaults. ``only`` and ``skip`` are
    labels or names of quantizers, with ``*`` and ``?`` for any letters; they choose rows as the file has them, so of a
    grid all or none. Raises UsageError for a pattern that fits no row, and if no row is left.
    """
    rows = list(suite.quantizers)
    added = [QuantizerRow.model_validate(name) for name in _unnamed(rows)]
    everything = [*rows, *added]
    kept = [row for row in everything if not only or _fits(row, only)]
    kept = [row for row in kept if not _fits(row, skip)]
    for pattern in (*only, *skip):
        if not any(_fits(row, [pattern]) for row in everything):
            known = dict.fromkeys(name for row in everything for name in _names(row))
            raise UsageError(f"{suite.name}: no row has the label or quantizer {pattern!r}; {nearest(pattern, known)}")
    if not kept:
        raise UsageError(f"{suite.name}: --only and --skip leave no row; name fewer rows to skip")
    if kept == rows:
        return []
    written = [row.model_dump(exclude_unset=True) for row in kept]
    return [Override("quantizers", written, origin="rows chosen by --only, --skip or --plugin")]


def _unnamed(rows: Iterable[QuantizerRow]) -> list[str]:
    """The quantizers of the user's own files that no row has, neither by name nor by a preset."""
    named = {row.quantizer for row in rows}
    return [
        name for name in registry.added("quantizers") if not named & {name, *registry.load("quantizers", name).presets}
    ]


def _names(row: QuantizerRow) -> list[str]:
    """What a row can be chosen by."""
    return [*filter(None, [row.label]), row.quantizer]


def _fits(row: QuantizerRow, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in _names(row))
