"""The style of a format: how it writes ranks, marks and notes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vqbench.reporting.tables.formats.layout import Layout, Piece, TextLine
from vqbench.reporting.tables.table import Table


@dataclass(frozen=True)
class Style:
    """How a format writes plain text, ranks and footnote marks."""

    escape: Callable[[str], str]
    best: str
    second: str
    mark: str  # template of one mark
    marks: str  # template of all marks of a cell
    part: str  # template of the label of a part of a row
    ranks: str  # how best and second best look, for the legend

    def piece(self, piece: Piece) -> str:
        text = self.escape(piece.text)
        if piece.rank:
            text = {"best": self.best, "second": self.second}[piece.rank].format(text)
        marks = self.marks.format(",".join(map(self.escape, piece.marks))) if piece.marks else ""
        return text + self.escape(piece.tail) + marks

    def label(self, line: TextLine) -> str:
        text = self.piece(line.label)
        return self.part.format(text) if line.kind == "part" else text

    def cells(self, line: TextLine) -> list[str]:
        return [self.label(line), *map(self.piece, line.pieces)]

    def notes(self, page: Layout, all_notes: bool) -> list[str]:
        """Return the notes below a table, escaped, each after its mark."""
        notes = page.below(self.ranks, all_notes)
        return [f"{self.mark.format(mark)} {self.escape(text)}" if mark else self.escape(text) for mark, text in notes]


def alignment(table: Table) -> list[str]:
    """Align labels to the left and numbers to the right."""
    return ["left", *["right"] * len(table.slots)]


def joined(*parts: Sequence[str]) -> str:
    """Join all lines of all ``parts``, each ending with a line break."""
    return "\n".join(line for part in parts for line in part) + "\n"
