"""Write tables as plain text that fits the terminal.

Rows are never wrapped. A table that is too wide gets heads of several lines; if it is still too wide, columns that do
not fit follow in further blocks, with the labels of the rows repeated.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vqbench.reporting.tables.formats.layout import Layout, TextLine
from vqbench.reporting.tables.formats.notes import WIDTH
from vqbench.reporting.tables.formats.style import Style, joined
from vqbench.system.console import one_line
from vqbench.system.output import LINE, fold

_GAP = "  "  # between columns

_STYLE = Style(
    escape=str,
    best="*{}",
    second="_{}",
    mark="[{}]",
    marks=" [{}]",
    part="· {}",
    ranks="* best, _ second",
)


def text(page: Layout, all_notes: bool, width: int = LINE) -> str:
    """Write ``page`` in lines of at most ``width`` columns.

    A longer label or column stays whole.
    """
    table = page.table
    above = [fold(one_line(line), columns=width) for line in (table.title, *table.caption)]
    blocks = [["", *_lines(page, columns)] for columns in _folded(page, width)]

    def cut(note: str) -> str:
        return textwrap.shorten(note, WIDTH, placeholder=" …", break_on_hyphens=False)

    below = []
    for mark, note in page.below(_STYLE.ranks, all_notes, _STYLE.mark, cut):
        start = f"{_STYLE.mark.format(mark)} " if mark else ""
        below.append(fold(start + note, " " * len(start), width))
    return joined(above, *blocks, ["", *below] if below else [])


@dataclass(frozen=True)
class _TextColumn:
    """One column: the lines of its head, and a cell for each row of the table."""

    head: Sequence[str]
    cells: Sequence[str]

    @property
    def width(self) -> int:
        return max(map(_width, [*self.head, *self.cells]), default=0)


def _width(text: str) -> int:
    """Return the columns of a terminal that ``text`` takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def _rows(page: Layout) -> list[TextLine]:
    return [line for line in page.lines if line.kind != "block"]


def _columns(page: Layout, tall: bool) -> list[_TextColumn]:
    """Return the columns of values.

    ``tall`` heads have the unit and the arrow on a line of their own.
    """
    rows = [_STYLE.cells(line)[1:] for line in _rows(page)]
    columns = []
    for slot, (group, column) in enumerate(page.table.slots):
        words = one_line(column.head)
        metric = [one_line(column.label), words.removeprefix(one_line(column.label)).strip()] if tall else [words]
        columns.append(_TextColumn([*([one_line(group.label)] if group else []), *metric], [row[slot] for row in rows]))
    return columns


def _folded(page: Layout, width: int) -> list[list[_TextColumn]]:
    """Distribute the columns over as few blocks as fit ``width``.

    The columns of a group stay together if they fit.
    """
    room = width - max((_width(_STYLE.label(line)) for line in _rows(page)), default=0)
    flat = _columns(page, tall=False)
    if _needed(flat) <= room:
        return [flat]
    blocks: list[list[_TextColumn]] = []
    for unit in _units(page, room):
        if not blocks or _needed([*blocks[-1], *unit]) > room:
            blocks.append([])
        blocks[-1] += unit
    return blocks


def _needed(columns: Sequence[_TextColumn]) -> int:
    return sum(len(_GAP) + column.width for column in columns)


def _units(page: Layout, room: int) -> Iterator[list[_TextColumn]]:
    """Yield the columns that are kept together.

    They are whole groups if each fits, else single columns.
    """
    columns, size = _columns(page, tall=True), len(page.table.columns)
    groups = [columns[start : start + size] for start in range(0, len(columns), size)]
    if page.table.groups and all(_needed(group) <= room for group in groups):
        yield from groups
    else:
        yield from ([column] for column in columns)


def _lines(page: Layout, columns: Sequence[_TextColumn]) -> Iterator[str]:
    """Yield the lines of one block: heads, a rule and rows.

    Parts of a row without anything in these columns are left out.
    """
    first = max((_width(_STYLE.label(line)) for line in _rows(page)), default=0)
    widths = [column.width for column in columns]
    height = max((len(column.head) for column in columns), default=0)
    for number in range(height):
        heads = [["", *column.head][max(0, number + 1 - height + len(column.head))] for column in columns]
        yield _aligned("", heads, first, widths).rstrip()
    rule = _GAP.join("-" * each for each in (first, *widths))
    yield rule
    row = 0
    for number, line in enumerate(page.lines):
        if line.kind == "block":
            yield from [rule] if number else []
            yield _STYLE.label(line)
            continue
        cells = [column.cells[row] for column in columns]
        row += 1
        if line.kind == "row" or any(cells):
            yield _aligned(_STYLE.label(line), cells, first, widths).rstrip()


def _aligned(label: str, cells: Sequence[str], first: int, widths: Sequence[int]) -> str:
    """Align a label to the left and cells to the right."""
    padded = [" " * (width - _width(cell)) + cell for cell, width in zip(cells, widths, strict=True)]
    return _GAP.join([label + " " * (first - _width(label)), *padded])
