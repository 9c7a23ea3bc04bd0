"""The model of a table: the content of every cell, and which cells are best.

Formats decide how it looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from vqbench.errors import UsageError
from vqbench.reporting import statistics
from vqbench.reporting.verdict import Verdict
from vqbench.system.provenance import Origin

Rank = Literal["best", "second"]
Mark = Literal["B", "M", "S", "D", "E"]
Status = Literal["ok", "missing", "failed", "none"]

# The marks of rows, the same letters in every format; see :mod:`vqbench.reporting.tables.marks`.
MARKS: Mapping[Mark, str] = {
    "B": "other budget",
    "M": "other machine",
    "S": "larger state",
    "D": "codes depend on the batch",
    "E": "external",
}
SIGNIFICANT = "†"  # beside a best value, see :func:`vqbench.reporting.column_tests.with_claims`
BEYOND_CHANCE = f"{SIGNIFICANT} ahead of every other ranked row beyond chance (5 % after Holm's correction)"
OTHER_SIZE = "other codebook size"  # the reason of a cell that is not ranked and has no letter
ARROWS = {"min": "↓", "max": "↑", None: ""}


@dataclass(frozen=True)
class Column:
    """One metric: how its head reads, which way is better, how many decimals it has."""

    key: str
    label: str
    unit: str = ""
    better: Literal["min", "max"] | None = None
    digits: int = 4
    unranked: str = ""  # why no cell is marked best, such as "4 test images, and rows are compared from 100 on"
    by_codebook: bool = False  # values of codebooks of different size are not ranked against each other

    @property
    def head(self) -> str:
        """The label, unit and arrow, as in "Usage [%] ↑"."""
        unit = f"[{self.unit}]" if self.unit else ""
        return " ".join(part for part in (self.label, unit, ARROWS[self.better]) if part)

    def shown(self, value: float) -> str:
        """Format ``value`` with the fixed number of decimals; a rounded zero has no sign."""
        return f"{value:z.{self.digits}f}"


@dataclass(frozen=True)
class Cell:
    """One metric of one method: a value per seed, or why none exists.

    ``status`` is "ok" with one or more ``values``; "missing", not run; "failed", with the ``reason``; or "none", where
    the metric is undefined for such a row. Values are in the column's unit and at full precision.
    """

    values: Sequence[float] = ()
    status: Status = "ok"
    reason: str = ""
    seeds: Sequence[int] = ()  # of each value; may be left out
    footnotes: Sequence[str] = ()
    paper: str | None = None  # the printed value, digit for digit
    paper_footnotes: Sequence[str] = ()
    verdict: Verdict | None = None
    not_comparable: str = ""  # why ours and the printed value are different quantities; empty if they are the same
    text: str = ""  # a setting in place of a value, such as the shape of the codes; such a cell has status "none"
    runs: Mapping[int, str] = field(default_factory=dict)  # seed -> key of the run behind it, measured or not
    origins: Mapping[int, tuple[Origin, ...]] = field(default_factory=dict)  # seed -> machines that trained the run
    images: int | None = None  # on which each value was measured; with several seeds, the fewest
    sources: Sequence[str] = ()  # folders of the records behind the values
    marks: Sequence[Mark] = ()
    unranked: str = ""  # why the cell is not ranked although it has values
    significant: bool = False  # the best of its block, ahead of every other ranked row beyond chance

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.values):
            raise UsageError(f"a table's cell has values if and only if it is 'ok': {self.status!r}, {self.values}")
        if self.seeds and len(self.seeds) != len(self.values):
            raise UsageError(
                f"a table's cell has one value per seed: {len(self.values)} values, {len(self.seeds)} seeds"
            )

    @property
    def mean(self) -> float | None:
        """The mean over seeds; None without a value."""
        return statistics.mean(self.values) if self.values else None

    def shown(self, column: Column) -> str | None:
        """Format the mean over seeds as ``column`` does; None without a value."""
        return None if self.mean is None else column.shown(self.mean)

    def spread(self, column: Column) -> str | None:
        """Format the sample standard deviation over seeds; None with fewer than two."""
        deviation = statistics.deviation(self.values)
        return None if deviation is None else column.shown(deviation)

    @property
    def difference(self) -> float | None:
        """Ours minus printed, unrounded; None where either is missing."""
        return None if self.mean is None or self.paper is None else self.mean - float(self.paper)

    def shown_difference(self, column: Column) -> str | None:
        """Subtract the printed value from the value as shown, as readers would."""
        shown = self.shown(column)
        if shown is None or self.paper is None or not Decimal(shown).is_finite():
            return None
        return f"{Decimal(shown) - Decimal(self.paper):+zf}"


@dataclass(frozen=True)
class Row:
    """One method: its cells from left to right, group after group.

    An ``upper_bound`` is shown, never ranked; nor is an ``external`` row, which vqbench did not train. The codes of a
    ``batch_dependent`` row depend on the batch in evaluation too.

    ``paper`` is the row's name in the printed table, where that is not its label.
    """

    label: str
    cells: Sequence[Cell]
    upper_bound: bool = False
    batch_dependent: bool = False
    footnotes: Sequence[str] = ()
    paper: str = ""
    external: bool = False


@dataclass(frozen=True)
class RowBlock:
    """Rows under one heading, usually those of one data set.

    ``key`` is its name, ``label`` its heading.
    """

    label: str
    rows: Sequence[Row]
    key: str = ""


@dataclass(frozen=True)
class ColumnGroup:
    """One of several sets of columns side by side.

    ``key`` is its name, ``label`` its heading.
    """

    label: str
    key: str = ""


@dataclass(frozen=True)
class CellPosition:
    """A cell with its position, by which files and printed values name it."""

    block: RowBlock
    row: Row
    group: ColumnGroup | None
    column: Column
    cell: Cell
    dataset: str
    setting: str
    rank: Rank | None = None


@dataclass(frozen=True)
class Table:
    """A table: blocks of rows, and columns.

    With ``groups``, all columns repeat in each group; ``group_by`` says what a group is.

    ``key`` names it in CSV files, ``protocol`` is the measuring protocol of all its values, ``paper`` the number of
    the printed table that it is compared with.
    """

    title: str
    columns: Sequence[Column]
    blocks: Sequence[RowBlock]
    caption: Sequence[str] = ()
    footnotes: Sequence[str] = ()
    groups: Sequence[ColumnGroup] = ()
    group_by: Literal["dataset", "setting"] = "dataset"
    key: str = ""
    protocol: str = ""
    paper: str = ""
    paper_footnotes: Sequence[str] = ()  # about the printed table as a whole
    basis: str = ""  # the number of images behind the values, in words
    per_seed: bool = True  # whether the values of a cell are one per seed, rather than computed from all of them
    slots: Sequence[tuple[ColumnGroup | None, Column]] = field(init=False, repr=False)  # the columns of cells

    def __post_init__(self) -> None:
        groups: Sequence[ColumnGroup | None] = self.groups or [None]
        slots = [(group, column) for group in groups for column in self.columns]
        object.__setattr__(self, "slots", slots)
        for block in self.blocks:
            for row in block.rows:
                if len(row.cells) != len(slots):
                    raise UsageError(
                        f"table {self.title!r}: row {row.label!r} has {len(row.cells)} cells for {len(slots)} columns"
                    )

    def places(self) -> Iterator[CellPosition]:
        """Yield every cell with its position, row by row from left to right."""
        for block in self.blocks:
            placed = [ranks(block, slot, column) for slot, (_, column) in enumerate(self.slots)]
            for i, row in enumerate(block.rows):
                for (group, column), cell, rank in zip(self.slots, row.cells, placed, strict=True):
                    yield CellPosition(block, row, group, column, cell, *self._coordinates(block, group), rank.get(i))

    def coordinates(self, block: RowBlock, slot: int) -> tuple[str, str]:
        """Return data set and setting of the cells of ``block`` in one column of cells."""
        return self._coordinates(block, self.slots[slot][0])

    def _coordinates(self, block: RowBlock, group: ColumnGroup | None) -> tuple[str, str]:
        """Return data set and setting of the cells where ``block`` and ``group`` meet."""
        across, down = (group.key or group.label) if group else "", block.key or block.label
        if group and self.group_by == "dataset":
            return across, down
        return down, across


def ranks(block: RowBlock, slot: int, column: Column) -> dict[int, Rank]:
    """Rank the rows of a block in one column of cells, by position.

    The values as shown are compared, so that no reader sees one of two equal numbers in bold; ties share a rank, and
    the value after a shared best is second. No row is ranked if the column has no direction, fewer than two rows
    compete or all are equal; no cell is ranked that has a reason not to be.
    """
    if column.better is None or column.unranked:
        return {}
    rows = {i: row.cells[slot] for i, row in enumerate(block.rows) if not row.upper_bound}
    shown = {i: cell.shown(column) for i, cell in rows.items() if not cell.unranked}
    values = {i: Decimal(text) for i, text in shown.items() if text is not None}
    values = {i: value for i, value in values.items() if not value.is_nan()}
    if len(set(values.values())) < 2:
        return {}
    order = sorted(set(values.values()), reverse=column.better == "max")
    names: dict[Decimal, Rank] = dict(zip(order, ("best", "second"), strict=False))
    return {i: names[value] for i, value in values.items() if value in names}
