"""What ``--set`` changed of a suite: what its title must say, and which columns went with their metric."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from vqbench.errors import shortened
from vqbench.planning.schema import QuantizerRow
from vqbench.planning.yamlfile import Document

TRAINED = ("train", "datasets", "backbone", "codebook", "generate", "samples")  # keys that a title rests on


def narrowed(before: Document, after: Document, overrides: Sequence[str]) -> Document:
    """``after``, without columns of metrics that are no longer among the suite's, unless columns were chosen, too."""
    keys = [_path(change)[0] for change in overrides]
    if "metrics" not in keys or "table" in keys:
        return after
    old, new = _names(before.data, "metrics"), _names(after.data, "metrics")
    columns = _names(after.data.get("table"), "columns")
    gone = [name for name in columns if name in old and name not in new]
    if not gone or not new:
        return after
    kept = [name for name in columns if name not in gone]
    table = {key: value for key, value in after.data["table"].items() if key != "columns"}
    table |= {"columns": kept} if kept else {}
    return Document({**after.data, "table": table, "left_out": gone}, after.places)


def _names(data: object, key: str) -> list[str]:
    """The words in the list at ``key``; none where there is no such list."""
    found = data.get(key) if isinstance(data, dict) else None
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _path(change: str) -> list[str]:
    return [key.strip() for key in change.partition("=")[0].split(".")]


def of_training(before: Document, rows: Sequence[QuantizerRow], overrides: Sequence[str]) -> list[str]:
    """The overrides that change what is trained; which rows, seeds and metrics there are, a table shows by itself."""
    found = []
    for change in overrides:
        key, *deeper = _path(change)
        if key in TRAINED or (key == "quantizers" and (deeper or not _selects(before, rows))):
            found.append(shortened(change))
    return found


def _selects(before: Document, rows: Sequence[QuantizerRow]) -> bool:
    """Whether ``rows`` are some of the file's, and plain ones of further quantizers."""
    try:
        written = [QuantizerRow.model_validate(row) for row in before.data["quantizers"]]
    except (ValidationError, KeyError, TypeError):
        return False
    return all(row in written or row == QuantizerRow.model_validate(row.quantizer) for row in rows)
