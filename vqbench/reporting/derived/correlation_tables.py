"""Tables of rank correlations: which columns order the methods alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqbench.planning.plan import Plan
from vqbench.reporting.derived.columns import groups_of_slots, heading, ranked_column
from vqbench.reporting.derived.rank_correlation import FEWEST, RESAMPLES, RankCorrelation, rank_correlation
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.table import Cell, Column, Row, RowBlock, Table
from vqbench.store.results import ResultStore

COLUMNS = (
    Column("tau", "Kendall's τ", digits=2),
    Column("low", "from", digits=2),
    Column("high", "to", digits=2),
    Column("rows", "Rows", digits=0),
)


def correlation_tables(plan: Plan, stores: Sequence[ResultStore], metric: str) -> list[Table]:
    """Return one table of rank correlations per measuring protocol of a suite.

    A row is another column of the suite's table, a block one of its data sets or settings. The value of a method is its
    mean over seeds. Upper bounds and external rows are left out, and so are values that the suite's table does not
    rank.

    Args:
        plan: of a suite.
        stores: the first that has a run counts.
        metric: a column of the suite's table that has a direction.

    Raises:
        UsageError: The suite has no such column, or its table ranks nothing by it.
    """
    return [_correlations(table, metric, plan.suite.about) for table in assemble.tables(plan, stores)]


@dataclass(frozen=True)
class _Values:
    """One column of a block: its values by row, larger where better."""

    column: Column
    by_row: Mapping[str, float]


def _correlations(table: Table, metric: str, about: str) -> Table:
    target = ranked_column(table, metric)
    blocks = [_block(table, block, slots, metric) for block in table.blocks for slots in groups_of_slots(table)]
    return Table(
        title=f"{table.title}: rank correlation with {target.label}",
        columns=COLUMNS,
        blocks=blocks,
        caption=[*_method(target), *(line for line in table.caption if line != about)],
        key=table.key,
        protocol=table.protocol,
        basis=table.basis,
        per_seed=False,
    )


def _block(table: Table, block: RowBlock, slots: Sequence[int], metric: str) -> RowBlock:
    """Return the rows of one data set in one setting, whose cells are at ``slots``."""
    columns = [_values(table, block, slot) for slot in slots]
    [wanted] = [each for each in columns if each.column.key == metric]
    dataset, _ = table.coordinates(block, slots[0])
    return RowBlock(
        heading(table, block, slots[0]), [_row(each, wanted) for each in columns if each is not wanted], dataset
    )


def _method(target: Column) -> list[str]:
    """Return the lines that say how the values are computed."""
    return [
        f"Kendall's τ_b of each column with {target.label}, over methods: 1 where better values go with better ones in "
        "every pair of methods, 0 without relation; where a column has no direction, more counts as better.",
        f"From, to: 95 % interval by a bootstrap over methods ({RESAMPLES:,} resamples). A method's value is its mean "
        "over seeds, so the interval does not contain the spread of trainings. Several columns are looked at at once.",
    ]


def _values(table: Table, block: RowBlock, slot: int) -> _Values:
    column, found = table.slots[slot][1], {}
    for row in block.rows:
        cell = row.cells[slot]
        comparable = not (row.upper_bound or row.external or cell.unranked or column.unranked)
        if comparable and cell.mean is not None and math.isfinite(cell.mean):
            found[row.label] = -cell.mean if column.better == "min" else cell.mean
    return _Values(column, found)


def _row(other: _Values, wanted: _Values) -> Row:
    both = [label for label in wanted.by_row if label in other.by_row]
    if other.column.unranked:
        return _empty(other, f"not ranked: {other.column.unranked}")
    if len(both) < FEWEST:
        return _empty(other, f"{len(both)} methods have both values, and {FEWEST} are needed")
    found = rank_correlation([other.by_row[each] for each in both], [wanted.by_row[each] for each in both])
    if found is None:
        return _empty(other, "all methods have one value")
    return Row(other.column.label, [Cell([value]) for value in _numbers(found)])


def _numbers(found: RankCorrelation) -> tuple[float, ...]:
    return found.tau, found.low, found.high, float(found.rows)


def _empty(other: _Values, why: str) -> Row:
    return Row(other.column.label, [Cell(status="none")] * len(COLUMNS), footnotes=[why])
