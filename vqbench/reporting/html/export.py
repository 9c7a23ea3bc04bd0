"""Place the lines of a suite's CSV file, so that a page can write some of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from vqbench.reporting.tables.formats.csv_text import csv_text
from vqbench.reporting.tables.table import Table


def csv_lines(tables: Sequence[Table]) -> dict[str, Any]:
    """Return the head of the CSV file and, per table, its lines with their positions.

    Panels are counted as in :func:`~vqbench.reporting.html.atlas.atlas`, rows and columns within a panel.
    """
    head = next(csv.reader(io.StringIO(csv_text([]))))
    return {"head": head, "tables": [_lines(table) for table in tables]}


def _lines(table: Table) -> list[tuple[int, int, int, list[str]]]:
    """Return (panel, row, column, fields) of every line."""
    lines = list(csv.reader(io.StringIO(csv_text([table]))))[1:]
    groups, width = max(1, len(table.groups)), len(table.columns)
    placed, at = [], 0
    for b, block in enumerate(table.blocks):
        for r, row in enumerate(block.rows):
            for slot, cell in enumerate(row.cells):
                panel, column = b * groups + slot // width, slot % width
                for _ in range(max(1, len(cell.values))):
                    placed.append((panel, r, column, lines[at]))
                    at += 1
    return placed
