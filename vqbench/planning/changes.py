"""What overrides changed of a suite: what its title must say, and what is left out with a metric or a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from vqbench.errors import shortened
from vqbench.planning.overrides import Override
from vqbench.planning.schema import QuantizerRow
from vqbench.planning.yamlfile import Document

TRAINED = ("train", "datasets", "backbone", "codebook", "generate", "samples")  # keys that a title rests on


def narrowed(before: Document, after: Document, overrides: Sequence[Override]) -> Document:
    """``after``, without what the overrides made meaningless.

    That are columns of metrics, and arguments ``on`` data sets, that were in ``before`` and are no longer. What the
    overrides themselves say stays, so that it is checked.
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
    """The words in the list at ``key``, with arguments or without; none where there is no such list."""
    items = data.get(key) if isinstance(data, dict) else None
    if not isinstance(items, list):
        return []
    names = [next(iter(item), None) if isinstance(item, dict) else item for item in items]
    return [name for name in names if isinstance(name, str)]


def of_training(before: Document, rows: Sequence[QuantizerRow], overrides: Sequence[Override]) -> list[str]:
    """The overrides that change what is trained; which rows, seeds and metrics there are, a table shows by itself."""
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
