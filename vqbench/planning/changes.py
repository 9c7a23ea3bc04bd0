"""Changes of a suite by the command line, and their consequences.

Rows are chosen by ``--only`` and ``--skip``, and added for the quantizers that ``--plugin`` brings. The result are
overrides, so that such a suite is a variant of its file, under a name of its own among the resolved suites of a store,
while its runs are the same runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from vqbench import registry
from vqbench.errors import UsageError, nearest, shortened
from vqbench.planning.overrides import Override
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.suite_parts import QuantizerRow
from vqbench.planning.yamlfile import Document

# Keys whose change a title must state.
TRAINED = ("train", "parent", "datasets", "backbone", "codebook", "generate", "samples")


def narrowed(before: Document, after: Document, overrides: Sequence[Override]) -> Document:
    """Remove from ``after`` the parts that the overrides made meaningless.

    These are columns of metrics, and arguments ``on`` data sets, that are in ``before`` but no longer in ``after``.
    Parts that an override sets itself are kept, so that they are checked.
    """
    return _without_columns(before, _without_datasets(before, after, overrides), overrides)


def _without_columns(before: Document, after: Document, overrides: Sequence[Override]) -> Document:
    keys = [change.keys[0] for change in overrides]
    if "metrics" not in keys or "table" in keys:
        return after
    old, new = _words(before.data, "metrics"), _words(after.data, "metrics")
    columns = _words(after.data.get("table"), "columns")
    gone = [name for name in columns if name in old and name not in new]
    if not gone or not new:
        return after
    kept = [name for name in columns if name not in gone]
    table = {key: value for key, value in after.data["table"].items() if key != "columns"}
    table |= {"columns": kept} if kept else {}
    return Document({**after.data, "table": table, "left_out": gone}, after.places)


def _without_datasets(before: Document, after: Document, overrides: Sequence[Override]) -> Document:
    narrows = any(change.keys[0] == "datasets" for change in overrides)
    if not narrows or any(change.path == "quantizers" or "on" in change.keys for change in overrides):
        return after
    gone = set(_words(before.data, "datasets")) - set(_words(after.data, "datasets"))
    rows = after.data.get("quantizers")
    if not gone or not isinstance(rows, list):
        return after
    return Document({**after.data, "quantizers": [_without_on(row, gone) for row in rows]}, after.places)


def _without_on(row: Any, datasets: set[str]) -> Any:
    """A row without its arguments on these ``datasets``."""
    if not isinstance(row, dict) or not isinstance(row.get("on"), dict):
        return row
    return {**row, "on": {name: args for name, args in row["on"].items() if name not in datasets}}


def _words(data: object, key: str) -> list[str]:
    """The names in the list at ``key``, with arguments or without.

    Empty if there is no such list.
    """
    items = data.get(key) if isinstance(data, dict) else None
    if not isinstance(items, list):
        return []
    names = [next(iter(item), None) if isinstance(item, dict) else item for item in items]
    return [name for name in names if isinstance(name, str)]


def of_headings(before: Document, suite: SuiteSpec, overrides: Sequence[Override]) -> dict[str, Any]:
    """Return the keys of a changed ``suite`` that its headings need.

    Title and description of a file describe the file: they are dropped where a training was changed, unless an
    override sets them.
    """
    changed = of_training(before, suite.quantizers, overrides)
    update: dict[str, Any] = {"changed": [*suite.changed, *changed]}
    if changed:
        own = {change.path for change in overrides}
        update |= {key: None for key in ("title", "description") if key not in own and getattr(suite, key) is not None}
    if (rows := _rows(before)) is not None and len(suite.rows()) < rows:
        update["file_rows"] = rows
    return update


def _rows(before: Document) -> int | None:
    """Count the rows of the suite as written; None if the file alone is no suite."""
    try:
        return len(SuiteSpec.from_document(before).rows())
    except UsageError:
        return None


def of_training(before: Document, rows: Sequence[QuantizerRow], overrides: Sequence[Override]) -> list[str]:
    """The overrides that change what is trained.

    Others, of rows, seeds or metrics, are visible in the table itself.
    """
    changed = []
    for change in overrides:
        key, *deeper = change.keys
        if key in TRAINED or (key == "quantizers" and (deeper or not _selects(before, rows))):
            changed.append(shortened(str(change)))
    return changed


def _selects(before: Document, rows: Sequence[QuantizerRow]) -> bool:
    """Whether ``rows`` are some of the file's, and plain ones of further quantizers."""
    try:
        written = [QuantizerRow.model_validate(row) for row in before.data["quantizers"]]
    except (ValidationError, KeyError, TypeError):
        return False
    return all(row in written or row == QuantizerRow.model_validate(row.quantizer) for row in rows)


# Rows -----------------------------------------------------------------------------------------------------------------


def select_rows(
    suite: SuiteSpec, only: Sequence[str] = (), skip: Sequence[str] = (), added: Sequence[str] | None = None
) -> list[Override]:
    """Return the override that leaves the wanted rows of ``suite``.

    None is needed if these are all that it has. A quantizer of ``added`` (None: of every file of the user's) that no
    row names gets a row, with its defaults. ``only`` and ``skip`` are labels or names of quantizers, with ``*`` and
    ``?`` for any letters; they choose rows as the file has them, so of a grid all or none. ``only`` keeps the row that
    others build on, too. Raises UsageError for a
    pattern that fits no row, and if no row is left.
    """
    rows = list(suite.quantizers)
    everything = [*rows, *(QuantizerRow.model_validate(name) for name in _unnamed(rows, added))]
    kept = [row for row in everything if not only or _fits(row, only) or suite.parent in _names(row)]
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


def _unnamed(rows: Iterable[QuantizerRow], added: Sequence[str] | None) -> list[str]:
    """The quantizers of the user's own files that no row names.

    A row names one by the plugin's name or by that of a preset.
    """
    named = {row.quantizer for row in rows}
    return [
        name
        for name in registry.added("quantizers")
        if (added is None or name in added) and not named & {name, *registry.load("quantizers", name).presets}
    ]


def _names(row: QuantizerRow) -> list[str]:
    """The names by which a row can be chosen."""
    return [*filter(None, [row.label]), row.quantizer]


def _fits(row: QuantizerRow, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in _names(row))
