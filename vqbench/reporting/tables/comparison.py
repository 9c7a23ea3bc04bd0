"""Compare a table with the printed one: printed values and verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from vqbench.reporting import paper
from vqbench.reporting.tables.table import Cell, CellPosition, RowBlock, Table
from vqbench.reporting.verdict import judge


def against_paper(table: Table, number: str, not_comparable: str = "") -> Table:
    """Add printed values, verdicts and footnotes to the cells of ``table``.

    ``number`` is that of the paper's table, such as "B.1".

    Rows, data sets, settings and metrics are matched by name; rows that the paper lacks stay unchanged.
    ``not_comparable`` is the reason, if any, why none of our values is the printed quantity; the reason of a single
    cell goes before it. Raises UsageError for a table that is not among :data:`paper.TABLES`.
    """
    paper.values(number)  # raises for an unknown number, even where there are no rows
    judged = _judged(table, number, not_comparable)
    blocks = [
        RowBlock(block.label, [replace(row, cells=[next(judged) for _ in row.cells]) for row in block.rows], block.key)
        for block in table.blocks
    ]
    return replace(table, blocks=blocks, paper=number, paper_footnotes=paper.notes(number))


def _judged(table: Table, number: str, not_comparable: str) -> Iterator[Cell]:
    for place in table.places():
        yield _judge(place, number, not_comparable)


def _judge(place: CellPosition, number: str, not_comparable: str) -> Cell:
    cell = place.cell
    printed = paper.lookup(number, place.row.paper or place.row.label, place.dataset, place.column.key, place.setting)
    if printed is None or place.row.external or (cell.status == "none" and not cell.text):
        return cell
    if cell.text:  # a setting: shown beside the printed one, without a verdict
        return replace(cell, paper=printed.printed, paper_footnotes=[printed.footnote] if printed.footnote else [])
    return replace(
        cell,
        paper=printed.printed,
        paper_footnotes=[printed.footnote] if printed.footnote else [],
        verdict=judge(place.column.key, cell.values, printed.printed, cell.not_comparable or not_comparable),
    )
