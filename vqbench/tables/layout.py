"""Lays a table out in lines and pieces of plain text, before any format: what is said where, under which mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vqbench.console import one_line
from vqbench.tables import verdict
from vqbench.tables.table import Block, Cell, Column, Rank, Row, Table, ranks
from vqbench.tables.verdict import Outcome

NOTHING = "–"
UNMEASURED = {"missing": "not run", "failed": "FAILED", "none": NOTHING}


@dataclass(frozen=True)
class Piece:
    """One cell of a line: ``text``, decorated by its ``rank``; ``tail``, undecorated; ``marks`` of its footnotes."""

    text: str = ""
    rank: Rank | None = None
    tail: str = ""
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Line:
    """A heading of a block (no pieces), a row, or a part of the row above it: printed value, difference, verdict."""

    kind: Literal["block", "row", "part"]
    label: Piece
    pieces: Sequence[Piece] = ()


@dataclass(frozen=True)
class Layout:
    """What every format has to show, in order. ``remarks`` stand below the table without a mark, ``notes`` with one."""

    table: Table
    lines: Sequence[Line]
    remarks: Sequence[str]
    notes: Sequence[tuple[str, str]]  # mark, text

    @property
    def ranked(self) -> bool:
        """Whether anything is marked best, so that a legend has to explain the marks."""
        return any(piece.rank for line in self.lines for piece in line.pieces)


def layout(table: Table, paper: bool = False) -> Layout:
    """The lines of ``table``; with ``paper``, each row is followed by its printed values, differences and verdicts."""
    notes = _Notes()
    lines = [line for block in table.blocks for line in _block(table, block, paper, notes)]
    return Layout(table, lines, _remarks(table, paper), notes.listed())


class _Notes:
    """Numbers footnotes by letters in the order in which they first appear; equal texts share one."""

    def __init__(self) -> None:
        self._marks: dict[str, str] = {}

    def marks(self, texts: Sequence[str]) -> tuple[str, ...]:
        tidy = [one_line(text) for text in texts if text.strip()]
        return tuple(dict.fromkeys(self._marks.setdefault(text, _letters(len(self._marks))) for text in tidy))

    def listed(self) -> list[tuple[str, str]]:
        return [(mark, text) for text, mark in self._marks.items()]


def _letters(number: int) -> str:
    """0 is a, 25 is z, 26 is aa."""
    rest, last = divmod(number, 26)
    return (_letters(rest - 1) if rest else "") + chr(ord("a") + last)


def _block(table: Table, block: Block, paper: bool, notes: _Notes) -> Iterator[Line]:
    if block.label:
        yield Line("block", Piece(one_line(block.label)))
    places = [ranks(block, slot, column) for slot, (_, column) in enumerate(table.slots)]
    columns = [column for _, column in table.slots]
    for i, row in enumerate(block.rows):
        label = Piece(one_line(row.label), marks=notes.marks(row.footnotes))
        pieces = [
            _ours(cell, column, place.get(i), notes)
            for cell, column, place in zip(row.cells, columns, places, strict=True)
        ]
        yield Line("row", label, pieces)
        if paper and any(cell.paper is not None for cell in row.cells):
            yield from _paper_parts(row, columns, notes)


def _ours(cell: Cell, column: Column, rank: Rank | None, notes: _Notes) -> Piece:
    text = cell.shown(column)
    if cell.text:
        return Piece(cell.text, marks=notes.marks(cell.footnotes))
    if text is None:
        reasons = [cell.reason or "no reason is recorded"] if cell.status == "failed" else [cell.reason]
        return Piece(UNMEASURED[cell.status], marks=notes.marks([*reasons, *cell.footnotes]))
    spread = cell.spread(column)
    tail = f" ± {spread}" if spread is not None else ""
    return Piece(text, rank, tail, notes.marks(cell.footnotes))


def _paper_parts(row: Row, columns: Sequence[Column], notes: _Notes) -> Iterator[Line]:
    yield Line("part", Piece("paper"), [_printed(cell, notes) for cell in row.cells])
    differences = [cell.shown_difference(column) for cell, column in zip(row.cells, columns, strict=True)]
    if any(differences):
        yield Line("part", Piece("ours − paper"), [Piece(difference or "") for difference in differences])
    yield Line("part", Piece("verdict"), [_verdict(cell, notes) for cell in row.cells])


def _printed(cell: Cell, notes: _Notes) -> Piece:
    return Piece() if cell.paper is None else Piece(cell.paper, marks=notes.marks(cell.paper_footnotes))


def _verdict(cell: Cell, notes: _Notes) -> Piece:
    if cell.verdict is None:
        return Piece()
    reasons = [cell.verdict.reason] if cell.verdict.outcome is Outcome.NOT_COMPARABLE else []
    return Piece(cell.verdict.outcome.value, marks=notes.marks(reasons))


def _remarks(table: Table, paper: bool) -> list[str]:
    remarks = [*_about_seeds(table), *table.footnotes]
    judged = [place.cell.verdict for place in table.places() if place.cell.verdict] if paper else []
    if judged:
        held = {place.column.key for place in table.places() if place.cell.verdict}
        labels = {column.key: column.label for column in table.columns if column.key in held}
        remarks += [_tally([verdict.outcome for verdict in judged]), verdict.legend(labels)]
        remarks += [f"Paper, {table.paper}: {note}" if table.paper else note for note in table.paper_footnotes]
    return [one_line(remark) for remark in remarks]


def _about_seeds(table: Table) -> list[str]:
    counts = sorted({len(place.cell.values) for place in table.places()} - {0})
    if not counts:
        return []
    fewest, most = counts[0], counts[-1]
    if most == 1:
        return ["One seed a cell: how far another seed would land is not known."]
    if fewest == most:
        return [f"Mean ± sample standard deviation over {most} seeds."]
    return [f"Mean ± sample standard deviation over {fewest} to {most} seeds; a value without ± is from one seed."]


def _tally(outcomes: Sequence[Outcome]) -> str:
    counts = Counter(outcomes)
    parts = ", ".join(f"{counts[outcome]} {outcome.value}" for outcome in Outcome if counts[outcome])
    return f"{len(outcomes)} printed values: {parts}."
