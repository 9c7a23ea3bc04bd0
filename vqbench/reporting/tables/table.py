"""The model of a table: what every cell holds and which are best. ``layout`` and ``render`` decide how it looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from vqbench.errors import UsageError
from vqbench.reporting import statistics
from vqbench.reporting.verdict import Verdict
from vqbench.system.machine import Origin

Rank = Literal["best", "second"]
Mark = Literal["B", "M", "S"]
Status = Literal["ok", "missing", "failed", "none"]

# What is marked of rows, in every format by the same letter; :mod:`vqbench.reporting.tables.marks` decides.
MARKS: Mapping[Mark, str] = {"B": "other budget", "M": "other machine", "S": "larger state"}
OTHER_SIZE = "other codebook size"  # why a cell is not ranked, where no letter marks it
ARROWS = {"min": "↓", "max": "↑", None: ""}


@dataclass(frozen=True)
class Column:
    """One metric: how its head reads, which way is better, and how many decimals are shown."""

    key: str
    label: str
    unit: str = ""
    better: Literal["min", "max"] | None = None
    digits: int = 4
    ranked: bool = True  # False: nothing is marked best, for a reason that the table gives
    by_codebook: bool = False  # values of codebooks of different size are not ranked against each other

    @property
    def head(self) -> str:
        """Label, unit and arrow, as in "Usage [%] ↑"."""
        unit = f"[{self.unit}]" if self.unit else ""
        return " ".join(part for part in (self.label, unit, ARROWS[self.better]) if part)

    def shown(self, value: float) -> str:
        """``value`` with the fixed number of decimals; a rounded zero has no sign."""
        return f"{value:z.{self.digits}f}"


@dataclass(frozen=True)
class Cell:
    """What is known about one metric of one method: a value a seed, or why there is none.

    ``status`` is "ok" with one or more ``values``; "missing", not run; "failed", with the ``reason``; or "none", where
    the metric says nothing about such a row. Values are in the column's unit and at full precision.
    """

    values: Sequence[float] = ()
    status: Status = "ok"
    reason: str = ""
    seeds: Sequence[int] = ()  # of each value; may be left out
    footnotes: Sequence[str] = ()
    paper: str | None = None  # the printed value, digit for digit
    paper_footnotes: Sequence[str] = ()
    verdict: Verdict | None = None
    not_comparable: str = ""  # why ours and the printed value are not the same quantity; empty where they are
    text: str = ""  # a setting in the place of a value, as the shape of the codes; such a cell has status "none"
    runs: Mapping[int, str] = field(default_factory=dict)  # seed -> key of the run behind it, measured or not
    origins: Mapping[int, tuple[Origin, ...]] = field(default_factory=dict)  # seed -> machines that trained the run
    images: int | None = None  # that each value was measured on, of several seeds the fewest
    sources: Sequence[str] = ()  # folders of the records behind the values
    marks: Sequence[Mark] = ()
    unranked: str = ""  # why the cell is not ranked though it has values

    def __post_init__(self) -> None:
        if (self.status == "ok") != bool(self.values):
            raise UsageError(f"a table's cell has values if and only if it is 'ok': {self.status!r}, {self.values}")
        if self.seeds and len(self.seeds) != len(self.values):
            raise UsageError(f"a table's cell has one value a seed: {len(self.values)} values, {len(self.seeds)} seeds")

    @property
    def mean(self) -> float | None:
        """Over seeds; None where there is no value."""
        return statistics.mean(self.values) if self.values else None

    def shown(self, column: Column) -> str | None:
        """The mean over seeds, rounded as the column asks; None where there is no value."""
        return None if self.mean is None else column.shown(self.mean)

    def spread(self, column: Column) -> str | None:
        """The sample standard deviation over seeds, rounded likewise; None with fewer than two seeds."""
        deviation = statistics.deviation(self.values)
        return None if deviation is None else column.shown(deviation)

    @property
    def difference(self) -> float | None:
        """Ours minus printed, unrounded; None where either is missing."""
        return None if self.mean is None or self.paper is None else self.mean - float(self.paper)

    def shown_difference(self, column: Column) -> str | None:
        """The value as shown minus the value as printed, so that a reader can check the subtraction."""
        shown = self.shown(column)
        if shown is None or self.paper is None or not Decimal(shown).is_finite():
            return None
        return f"{Decimal(shown) - Decimal(self.paper):+zf}"


@dataclass(frozen=True)
class Row:
    """One method: its cells from left to right, group after group. An ``upper_bound`` is shown but never ranked.

    ``paper`` is the row's name in the printed table, where that is not its label.
    """

    label: str
    cells: Sequence[Cell]
    upper_bound: bool = False
    footnotes: Sequence[str] = ()
    paper: str = ""


@dataclass(frozen=True)
class Block:
    """Rows under one heading, most often those of one data set; ``key`` is its name, ``label`` its heading."""

    label: str
    rows: Sequence[Row]
    key: str = ""


@dataclass(frozen=True)
class ColumnGroup:
    """One of several sets of columns side by side; ``key`` is its name, ``label`` its heading."""

    label: str
    key: str = ""


@dataclass(frozen=True)
class CellPosition:
    """Where a cell stands: enough to name it in a file or to find its printed value."""

    block: Block
    row: Row
    group: ColumnGroup | None
    column: Column
    cell: Cell
    dataset: str
    setting: str
    rank: Rank | None = None


@dataclass(frozen=True)
class Table:
    """A table. With ``groups``, all columns repeat in each group; ``group_by`` says what a group stands for.

    ``key`` names it in CSV files, ``protocol`` is the measuring protocol of all its values, ``paper`` the number of
    the printed table that it is held against.
    """

    title: str
    columns: Sequence[Column]
    blocks: Sequence[Block]
    caption: Sequence[str] = ()
    footnotes: Sequence[str] = ()
    groups: Sequence[ColumnGroup] = ()
    group_by: Literal["dataset", "setting"] = "dataset"
    key: str = ""
    protocol: str = ""
    paper: str = ""
    paper_footnotes: Sequence[str] = ()  # about the printed table as a whole
    basis: str = ""  # how many images the values rest on
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
        """Every cell with its place, row by row from left to right."""
        for block in self.blocks:
            placed = [ranks(block, slot, column) for slot, (_, column) in enumerate(self.slots)]
            for i, row in enumerate(block.rows):
                for (group, column), cell, rank in zip(self.slots, row.cells, placed, strict=True):
                    yield CellPosition(block, row, group, column, cell, *self._coordinates(block, group), rank.get(i))

    def _coordinates(self, block: Block, group: ColumnGroup | None) -> tuple[str, str]:
        """The data set and the setting of the cells where ``block`` and ``group`` meet."""
        across, down = (group.key or group.label) if group else "", block.key or block.label
        if group and self.group_by == "dataset":
            return across, down
        return down, across


def ranks(block: Block, slot: int, column: Column) -> dict[int, Rank]:
    """The best and second best rows (by position) of a block in one column of cells.

    Compared are the values as shown, so that no reader sees one of two equal numbers in bold; ties share, and what
    follows a shared best is second. No row is ranked where the column has no direction, fewer than two rows compete, or
    all are equal, and no cell that has a reason not to be.
    """
    if column.better is None or not column.ranked:
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
