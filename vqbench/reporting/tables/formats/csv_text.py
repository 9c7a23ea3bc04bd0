"""Write tables as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence

from vqbench.reporting.tables.table import SIGNIFICANT, CellPosition, Table
from vqbench.system.console import one_line, visible

# The characters that begin a formula in a spreadsheet; the last four are their wide forms.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def harmless(text: str) -> str:
    """Put an apostrophe before text that a spreadsheet would compute.

    Numbers stay numbers.
    """
    return f"'{text}" if text.lstrip().startswith(_FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", text) is not None


def _number(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _notes_of(place: CellPosition) -> str:
    cell = place.cell
    reason = [cell.verdict.reason] if cell.verdict else []
    return "; ".join(
        one_line(note) for note in [*reason, *place.row.footnotes, *cell.footnotes, *cell.paper_footnotes] if note
    )


_CSV_COLUMNS: Mapping[str, Callable[[Table, CellPosition], str]] = {
    "table": lambda table, place: table.key or table.title,
    "protocol": lambda table, place: table.protocol,
    "dataset": lambda table, place: place.dataset,
    "row": lambda table, place: one_line(place.row.label),
    "setting": lambda table, place: place.setting,
    "metric": lambda table, place: place.column.key,
    "seed": lambda table, place: "",
    "value": lambda table, place: "",
    "status": lambda table, place: place.cell.status,
    "reason": lambda table, place: one_line(place.cell.reason),
    "paper": lambda table, place: place.cell.paper or "",
    "difference": lambda table, place: _number(place.cell.difference),
    "verdict": lambda table, place: place.cell.verdict.outcome.value if place.cell.verdict else "",
    "notes": lambda table, place: _notes_of(place),
    "rank": lambda table, place: place.rank or "",
    "marks": lambda table, place: " ".join([*place.cell.marks, *[SIGNIFICANT] * place.cell.significant]),
    "unranked": lambda table, place: place.cell.unranked,
    "images": lambda table, place: "" if place.cell.images is None else str(place.cell.images),
    "results": lambda table, place: " ".join(place.cell.sources),
}


def csv_text(tables: Sequence[Table]) -> str:
    """Write one line per value, or one for a cell without any.

    Values are unrounded; a difference is that of the mean over seeds.
    """
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        for place in table.places():
            fields = {name: harmless(visible(field(table, place))) for name, field in _CSV_COLUMNS.items()}
            writer.writerows(fields | measured for measured in _measured(place))
    return buffer.getvalue()


def _measured(place: CellPosition) -> list[dict[str, str]]:
    cell = place.cell
    seeds: Sequence[int | str] = cell.seeds or [""] * len(cell.values)
    lines = [{"seed": str(seed), "value": _number(value)} for seed, value in zip(seeds, cell.values, strict=True)]
    return lines or [{}]
