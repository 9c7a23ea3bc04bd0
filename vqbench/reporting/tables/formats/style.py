"""What the formats that people read share: ranks, marks and notes as each writes them."""

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
    mark: str  # one mark
    marks: str  # the place of all marks of a cell, one after the other
    part: str  # label of a part of a row
    ranks: str  # how the best and the second best look

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
        """The notes below a table, escaped, each after its mark."""
        notes = page.below(self.ranks, all_notes)
        return [f"{self.mark.format(mark)} {self.escape(text)}" if mark else self.escape(text) for mark, text in notes]


def alignment(table: Table) -> list[str]:
    """That of every column: labels to the left, numbers to the right."""
    return ["left", *["right"] * len(table.slots)]


def joined(*parts: Sequence[str]) -> str:
    """All lines of all ``parts``, each ending with a line break."""
    return "\n".join(line for part in parts for line in part) + "\n"
