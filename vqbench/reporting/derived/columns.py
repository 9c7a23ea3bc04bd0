"""Columns of a suite's table that tables are derived from."""

from __future__ import annotations

from vqbench.errors import UsageError, nearest
from vqbench.reporting.tables.table import Column, RowBlock, Table


def ranked_column(table: Table, metric: str) -> Column:
    """Return the column of ``metric``.

    Raises UsageError unless the table has it, with a direction, and ranks rows by it.
    """
    directed = {each.key: each for each in table.columns if each.better is not None}
    if metric not in directed:
        raise UsageError(f"{metric!r} is no column with a direction in this table; {nearest(metric, directed)}")
    column = directed[metric]
    if column.unranked:
        raise UsageError(f"{column.label} ranks no row of this table: {column.unranked}")
    return column


def groups_of_slots(table: Table) -> list[list[int]]:
    """Return the columns of cells of each group, as positions."""
    size = len(table.columns)
    return [list(range(start, start + size)) for start in range(0, len(table.slots), size)]


def heading(table: Table, block: RowBlock, slot: int) -> str:
    """Return the heading of a block of cells: its data set and its setting."""
    group = table.slots[slot][0]
    return ", ".join(filter(None, (block.label, group.label if group else "")))
