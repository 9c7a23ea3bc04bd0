"""Lay a table out in lines of plain text, for all formats that people read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from vqbench.reporting.tables.formats.notes import LINES, WIDTH, Footnotes, cut, explained, remarks, shortened
from vqbench.reporting.tables.table import (
    BEYOND_CHANCE,
    MARKS,
    SIGNIFICANT,
    Cell,
    Column,
    Mark,
    Rank,
    Row,
    RowBlock,
    Table,
    ranks,
)
from vqbench.reporting.verdict import VerdictKind
from vqbench.system.console import one_line

NOTHING = "–"
UNMEASURED = {"missing": "not run", "failed": "FAILED", "none": NOTHING}


@dataclass(frozen=True)
class Piece:
    """One cell of a line.

    ``text`` is decorated by its ``rank``, ``tail`` is not; ``marks`` refer to footnotes.
    """

    text: str = ""
    rank: Rank | None = None
    tail: str = ""
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class TextLine:
    """A heading of a block, a row, or a part of the row above it.

    Headings have no pieces; parts are printed values, differences and verdicts.
    """

    kind: Literal["block", "row", "part"]
    label: Piece
    pieces: Sequence[Piece] = ()


@dataclass(frozen=True)
class Layout:
    """The lines of a table, in order, and the notes below it.

    ``remarks`` have no mark, ``notes`` have one.

    Marks of rows and cells are capital letters, the same in all formats, see :data:`~.table.MARKS`; small
    letters refer to ``notes``.
    """

    table: Table
    lines: Sequence[TextLine]
    remarks: Sequence[str]
    notes: Sequence[tuple[str, str]]  # mark, text

    @property
    def ranked(self) -> bool:
        """Whether any cell is marked best, so that a legend has to explain the marks."""
        return any(piece.rank for line in self.lines for piece in line.pieces)

    @property
    def marks(self) -> str:
        """The legend of the marks of rows; empty where no row has any."""
        return self.legend("")

    def legend(self, ranks: str) -> str:
        """Explain all marks of the table in one line.

        ``ranks`` says how a format shows the best and the second best.
        """
        cells = [place.cell for place in self.table.places()]
        used = [mark for mark in MARKS if any(mark in cell.marks for cell in cells)]
        unranked = [mark for mark in used if any(mark in cell.marks and cell.unranked == MARKS[mark] for cell in cells)]
        parts = [f"{ranks} in its block, as shown"] if self.ranked and ranks else []
        if unranked:
            parts.append(f"not ranked: {explained(unranked)}")
        if others := [mark for mark in used if mark not in unranked]:
            parts.append(explained(others))
        if any(cell.significant for cell in cells):
            parts.append(BEYOND_CHANCE)
        line = "; ".join(parts)
        return f"{line[0].upper()}{line[1:]}." if parts else ""

    def below(
        self, ranks: str, all_notes: bool, mark: str = "{}:", cut: Callable[[str], str] = cut
    ) -> list[tuple[str, str]]:
        """Return the notes below the table as (mark or "", text).

        At most five unless ``all_notes``, each of them ``cut``; lettered notes share one of them, each after its
        ``mark``.
        """
        legend = self.legend(ranks)
        notes = [("", text) for text in ([legend] if legend else []) + [*self.remarks]] + [*self.notes]
        whole = len(notes) <= LINES and all(len(letter) + len(text) + 3 <= WIDTH for letter, text in notes[1:])
        return notes if all_notes or whole else shortened(notes, bool(legend), mark, cut)


def layout(table: Table, paper: bool = False) -> Layout:
    """Lay out ``table``.

    With ``paper``, printed values, differences and verdicts follow each row.
    """
    notes = Footnotes()
    lines = [line for block in table.blocks for line in _block(table, block, paper, notes)]
    return Layout(table, lines, remarks(table, paper), notes.listed())


def _block(table: Table, block: RowBlock, paper: bool, notes: Footnotes) -> Iterator[TextLine]:
    if block.label:
        yield TextLine("block", Piece(one_line(block.label)))
    places = [ranks(block, slot, column) for slot, (_, column) in enumerate(table.slots)]
    columns = [column for _, column in table.slots]
    for i, row in enumerate(block.rows):
        common = _common_marks(row)
        label = Piece(one_line(row.label), marks=(*common, *notes.marks(row.footnotes)))
        pieces = [
            _ours(cell, column, place.get(i), common, notes)
            for cell, column, place in zip(row.cells, columns, places, strict=True)
        ]
        yield TextLine("row", label, pieces)
        if paper and any(cell.paper is not None for cell in row.cells):
            yield from _paper_parts(row, columns, notes)


def _common_marks(row: Row) -> tuple[Mark, ...]:
    """Return the marks of all values of a row, shown once beside its name."""
    marked = [set(cell.marks) for cell in row.cells if cell.values]
    return tuple(mark for mark in MARKS if marked and all(mark in each for each in marked))


def _ours(cell: Cell, column: Column, rank: Rank | None, common: Sequence[Mark], notes: Footnotes) -> Piece:
    text = cell.shown(column)
    if cell.text:
        return Piece(cell.text, marks=notes.marks(cell.footnotes))
    if text is None:
        reasons = [cell.reason or "no reason is recorded"] if cell.status == "failed" else [cell.reason]
        return Piece(UNMEASURED[cell.status], marks=notes.marks([*reasons, *cell.footnotes]))
    spread = cell.spread(column)
    tail = f" ± {spread}" if spread is not None else ""
    own = [SIGNIFICANT] * cell.significant + [mark for mark in cell.marks if mark not in common]
    return Piece(text, rank, tail, (*own, *notes.marks(cell.footnotes)))


def _paper_parts(row: Row, columns: Sequence[Column], notes: Footnotes) -> Iterator[TextLine]:
    yield TextLine("part", Piece("paper"), [_printed(cell, notes) for cell in row.cells])
    differences = [cell.shown_difference(column) for cell, column in zip(row.cells, columns, strict=True)]
    if any(differences):
        yield TextLine("part", Piece("ours − paper"), [Piece(difference or "") for difference in differences])
    yield TextLine("part", Piece("verdict"), [_verdict(cell, notes) for cell in row.cells])


def _printed(cell: Cell, notes: Footnotes) -> Piece:
    return Piece() if cell.paper is None else Piece(cell.paper, marks=notes.marks(cell.paper_footnotes))


def _verdict(cell: Cell, notes: Footnotes) -> Piece:
    if cell.verdict is None:
        return Piece()
    reasons = [cell.verdict.reason] if cell.verdict.outcome is VerdictKind.NOT_COMPARABLE else []
    return Piece(cell.verdict.outcome.value, marks=notes.marks(reasons))
