"""Tables of differences: how far rows are apart, and whether beyond chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from vqbench.errors import UsageError, nearest
from vqbench.planning.plan import Plan
from vqbench.reporting import statistics
from vqbench.reporting.column_tests import LEVEL, Images, pair_cells
from vqbench.reporting.derived.columns import groups_of_slots, heading, ranked_column
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.tables.table import Cell, Column, Row, RowBlock, Table
from vqbench.store.results import ResultStore

ONE_SEED = "one seed: two trained models are compared, not two methods"


def difference_tables(
    plan: Plan, stores: Sequence[ResultStore], metric: str, reference: str | None = None
) -> list[Table]:
    """Return one table of differences in ``metric`` per measuring protocol.

    A row is a pair of methods, all pairs or those with ``reference``. Values are paired by image and seed, or by seed
    where a metric has none per image, on the seeds that the same machines trained. Upper bounds and external rows are
    left out.

    Args:
        plan: of a suite.
        stores: the first that has a run counts.
        metric: a column of the suite's table that has a direction.
        reference: the label of the row that all others are compared with.

    Raises:
        UsageError: The suite has no such column or row, or its table ranks nothing by it.
    """
    stored = StoredRuns(plan, stores)
    return [
        _Differences(table, metric, reference, stored.images_of).table(plan.suite.about)
        for table in assemble.tables(plan, stores)
    ]


@dataclass(frozen=True)
class _RowPair:
    """Two methods of one block, and their test, or why there is none."""

    label: str
    test: statistics.PairedTest | None
    why: str = ""


class _PValues(Column):
    """A column of p-values, of which none is shown as 0."""

    def shown(self, value: float) -> str:
        smallest = 10.0**-self.digits
        return f"< {smallest:.{self.digits}f}" if value < smallest / 2 else super().shown(value)


class _Differences:
    """Builds the table of differences that belongs to one table of a suite."""

    def __init__(self, table: Table, metric: str, reference: str | None, images: Images) -> None:
        self.of, self.reference, self.images = table, reference, images
        self.column = ranked_column(table, metric)
        labels = list(dict.fromkeys(row.label for block in table.blocks for row in block.rows if _competes(row)))
        if reference is not None and reference not in labels:
            raise UsageError(f"{reference!r} is no row of this table that competes; {nearest(reference, labels)}")

    def table(self, about: str) -> Table:
        """Return the table, a block for each data set and setting."""
        places = [
            (block, slot)
            for block in self.of.blocks
            for slots in groups_of_slots(self.of)
            for slot in slots
            if self.of.slots[slot][1] is self.column
        ]
        pairs = [self._pairs(block, slot) for block, slot in places]
        tests = [pair.test for each in pairs for pair in each if pair.test and pair.test.seeds > 1]
        adjusted = iter(statistics.holm([test.p_value for test in tests]))
        blocks = [
            RowBlock(
                heading(self.of, block, slot),
                [_row(pair, adjusted) for pair in each],
                self.of.coordinates(block, slot)[0],
            )
            for (block, slot), each in zip(places, pairs, strict=True)
        ]
        against = f" from {self.reference}" if self.reference is not None else ""
        return Table(
            title=f"{self.of.title}: differences in {self.column.label}{against}",
            columns=self._columns(),
            blocks=blocks,
            caption=[*self._method(len(tests)), *(line for line in self.of.caption if line != about)],
            key=self.of.key,
            protocol=self.of.protocol,
            basis=self.of.basis,
            per_seed=False,
        )

    def _pairs(self, block: RowBlock, slot: int) -> list[_RowPair]:
        """Return all pairs of a block, or those of its rows with the reference."""
        rows = [row for row in block.rows if _competes(row)]
        if self.reference is None:
            return [
                self._pair(one, other, slot, f"{one.label} − {other.label}") for one, other in combinations(rows, 2)
            ]
        own = [row for row in rows if row.label == self.reference]
        return [self._pair(row, each, slot, row.label) for each in own for row in rows if row is not each]

    def _pair(self, one: Row, other: Row, slot: int, label: str) -> _RowPair:
        cells = one.cells[slot], other.cells[slot]
        if unranked := [cell.unranked for cell in cells if cell.unranked]:
            return _RowPair(label, None, f"not compared: {unranked[0]}")
        found = pair_cells(*cells, f"{self.of.protocol}/{self.column.key}", self.images)
        if isinstance(found, str):
            return _RowPair(label, None, f"not compared: {found}")
        a, b, _ = found
        return _RowPair(label, statistics.paired_test(a, b))

    def _columns(self) -> list[Column]:
        values = replace(self.column, better=None)
        return [
            replace(values, key="difference", label="Difference"),
            replace(values, key="low", label="from"),
            replace(values, key="high", label="to"),
            _PValues("p", "p (Holm)"),
            Column("seeds", "Seeds", digits=0),
        ]

    def _method(self, tests: int) -> list[str]:
        """Return the lines that say how the values are computed."""
        what = "of the first minus that of the second" if self.reference is None else f"minus that of {self.reference}"
        better = "lower" if self.column.better == "min" else "higher"
        pairing = (
            "From, to: 95 % interval. Paired by seed, and by image where there are values per image; both are samples."
        )
        correction = (
            f"p is corrected by Holm's method over the {tests} comparisons of this table: below {LEVEL:g}, a "
            "difference is beyond chance."
            if tests > 1
            else f"One comparison: p needs no correction, and below {LEVEL:g} the difference is beyond chance."
        )
        return [
            f"Mean {self.column.label} {what}; {better} is better.{f' {pairing}' if tests else ''}",
            *([correction] if tests else []),
        ]


def _competes(row: Row) -> bool:
    return not (row.upper_bound or row.external)


def _row(pair: _RowPair, adjusted: Iterator[float]) -> Row:
    """Return the row of a pair, which takes its corrected p-value if it has one."""
    none = Cell(status="none")
    if pair.test is None:
        return Row(pair.label, [none] * 5, footnotes=[pair.why])
    difference, seeds = Cell([pair.test.difference]), Cell([float(pair.test.seeds)])
    if pair.test.seeds < 2:
        return Row(pair.label, [difference, none, none, none, seeds], footnotes=[ONE_SEED])
    ends = [Cell([end]) for end in (pair.test.low, pair.test.high)]
    return Row(pair.label, [difference, *ends, Cell([next(adjusted)]), seeds])
