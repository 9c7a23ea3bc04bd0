"""The view model of a table on a page: cells with their runs and claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqbench.reporting.column_tests import ColumnTest, judge_columns, no_comparison
from vqbench.reporting.html.suite_view import RunView, SuiteView
from vqbench.reporting.tables.formats.layout import Layout, Piece, TextLine, layout
from vqbench.reporting.tables.table import Cell, Column, Table

CLAIM_STYLES = {"significant": "best", "open": "lead", "one seed": "lead", "level": "lead", "not comparable": "lead"}


@dataclass(frozen=True)
class CellView:
    """One cell of the HTML table."""

    piece: Piece
    value: float | None = None  # at full precision, for sorting
    mark: str = ""  # "best": a significant lead; "lead": the best value without a claim
    runs: Sequence[RunView] = ()
    status: str = ""


@dataclass(frozen=True)
class LineView:
    """One line of the HTML table."""

    kind: str
    label: Piece
    cells: Sequence[CellView]
    upper_bound: bool = False


@dataclass(frozen=True)
class TableView:
    """A table with its column tests."""

    table: Table
    columns: Sequence[Column]
    heads: Sequence[tuple[str, int]]  # of groups: label, number of columns
    blocks: Sequence[tuple[str, Sequence[LineView]]]
    remarks: Sequence[str]
    notes: Sequence[tuple[str, str]]
    tests: Sequence[ColumnTest]
    compared: int  # number of comparisons, corrected together
    claims: int  # number of columns in which a row is ahead of all others
    no_comparison: str  # why there are no tests; empty if there are


def table_view(suite: SuiteView, table: Table) -> TableView:
    tests = judge_columns(table, suite.images)
    paper = any(place.cell.paper is not None for place in table.places())
    laid = layout(table, paper)
    blocks: list[tuple[str, list[LineView]]] = []
    for line, place in _placed(table, laid):
        if line.kind == "block":
            blocks.append((line.label.text, []))
        else:
            if not blocks:
                blocks.append(("", []))
            blocks[-1][1].append(_line(suite, table, line, place, tests))
    return TableView(
        table,
        [column for _, column in table.slots],
        [(group.label, len(table.columns)) for group in table.groups],
        blocks,
        [*filter(None, [laid.marks]), *laid.remarks],
        laid.notes,
        list(tests.values()),
        sum(len(test.comparisons) for test in tests.values()),
        sum(test.claim == "significant" for test in tests.values()),
        "" if tests else no_comparison(table),
    )


def _placed(table: Table, laid: Layout) -> list[tuple[TextLine, tuple[int, int]]]:
    """Return every line with the positions of its block and its row."""
    placed = []
    labelled = any(line.kind == "block" for line in laid.lines)
    block, row = (-1 if labelled else 0), -1
    for line in laid.lines:
        if line.kind == "block":
            block, row = block + 1, -1
        elif line.kind == "row":
            row += 1
        placed.append((line, (block, row)))
    return placed


def _line(
    suite: SuiteView,
    table: Table,
    line: TextLine,
    place: tuple[int, int],
    tests: Mapping[tuple[int, int], ColumnTest],
) -> LineView:
    row = table.blocks[place[0]].rows[place[1]]
    if line.kind == "part":
        return LineView("part", line.label, [CellView(piece, status=_word(piece)) for piece in line.pieces])
    cells = []
    for slot, (piece, cell) in enumerate(zip(line.pieces, row.cells, strict=True)):
        test = tests.get((place[0], slot))
        mark = CLAIM_STYLES[test.claim] if test and piece.rank == "best" else ""
        cells.append(CellView(piece, cell.mean, mark, _runs(suite, cell), cell.status))
    return LineView("row", line.label, cells, row.upper_bound)


def _runs(suite: SuiteView, cell: Cell) -> list[RunView]:
    return [suite.by_key[key] for key in dict.fromkeys(cell.runs.values())]


def _word(piece: Piece) -> str:
    """Return the name of a verdict's style."""
    return piece.text.lower().replace(" ", "-") if piece.text.isupper() else ""
