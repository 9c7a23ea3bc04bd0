"""Test for each column whether its best row is ahead of the others beyond chance.

The row with the best mean is compared with every other row of its block, on the common seeds that the same machines
trained (:mod:`vqbench.system.provenance`), by :func:`vqbench.reporting.statistics.paired_test` over seeds and, if
values per image are stored, images. Holm's method corrects all p-values of a table together. A claim needs two seeds
and every p-value of its column below 5 %: with one seed, two trained models are compared, not two training methods.

The best row is chosen by the data, which the correction covers: whichever row is truly best, a false claim must beat
that row, so that the comparisons of the others with one best row are all that can go wrong (J. C. Hsu, "Simultaneous
confidence intervals for all distances from the best", Annals of Statistics 9, 1981).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from vqbench.reporting import statistics
from vqbench.reporting.tables.table import MARKS, OTHER_SIZE, Cell, Column, RowBlock, Table, ranks
from vqbench.system.provenance import same_origin

LEVEL = 0.05
RESAMPLES = (200, 2000)  # at least and at most
DRAWS = 60_000_000  # images drawn for all comparisons of a table, which takes about a second

NO_RIVALS = ("not run", "failed", MARKS["B"], OTHER_SIZE)  # reasons of rows that are not compared and forbid no claim
Claim = Literal["significant", "open", "one seed", "level", "not comparable"]
Images = Callable[[str, str], np.ndarray | None]  # (run's key, "protocol/metric") -> values per image


@dataclass(frozen=True)
class Comparison:
    """The best row of a column compared with another one."""

    other: str
    test: statistics.PairedTest  # of best − other
    by_image: bool  # else by means over images, one per seed
    adjusted: float = 1.0  # p-value by Holm over the table
    ahead: float | None = None  # share of paired bootstrap resamples in which the best is ahead


@dataclass(frozen=True)
class ColumnTest:
    """One column of one block: its best row, its comparisons and the claim."""

    block: str
    setting: str
    column: Column
    best: str
    claim: Claim
    comparisons: Sequence[Comparison] = ()
    not_compared: Sequence[tuple[str, str]] = ()  # rows that could not be compared, and why

    @property
    def sentence(self) -> str:
        """The claim in one sentence."""
        seeds = min((each.test.seeds for each in self.comparisons), default=0)
        if self.claim == "level":
            return "several rows share the best value as shown"
        if self.claim == "not comparable":
            return "one seed and no values per image: no claim"
        if self.claim == "one seed":
            return "one seed: no claim"
        if self.claim == "significant":
            return f"{self.best} is ahead of every other ranked row, {seeds} seeds"
        level = [each.other for each in self.comparisons if each.adjusted >= LEVEL]
        return (
            f"{self.best} is not ahead of {', '.join(level or [other for other, _ in self.not_compared])} beyond noise"
        )


PairedValues = tuple[
    str, NDArray[np.float64], NDArray[np.float64], bool
]  # row, values of the best and of the row, by image
ColumnPosition = tuple[int, int]  # position of the block, position of the column of cells


def with_claims(table: Table, images: Images) -> Table:
    """Return ``table`` with the best values that are ahead beyond chance marked so.

    These are the values of rows whose claim is "significant". Nothing is computed for tables of one seed.
    """
    if all(len(place.cell.values) < 2 for place in table.places()):
        return table
    claimed = {at for at, test in judge_columns(table, images, bootstrap=False).items() if test.claim == "significant"}
    blocks = []
    for b, block in enumerate(table.blocks):
        best = {
            slot: ranks(block, slot, column) for slot, (_, column) in enumerate(table.slots) if (b, slot) in claimed
        }
        rows = [
            replace(
                row,
                cells=[
                    replace(cell, significant=True) if best.get(slot, {}).get(i) == "best" else cell
                    for slot, cell in enumerate(row.cells)
                ],
            )
            for i, row in enumerate(block.rows)
        ]
        blocks.append(replace(block, rows=rows))
    return replace(table, blocks=blocks)


def judge_columns(table: Table, images: Images, bootstrap: bool = True) -> dict[ColumnPosition, ColumnTest]:
    """Judge every column of every block in which rows compete.

    P-values are corrected over the whole table. ``images`` returns the values per image of a run, see :data:`Images`.
    Without ``bootstrap``, the shares of resamples, which no claim needs, are left out.
    """
    prepared: dict[ColumnPosition, ColumnTest] = {}
    pairs: dict[ColumnPosition, list[PairedValues]] = {}
    for i, block in enumerate(table.blocks):
        for slot, (group, column) in enumerate(table.slots):
            placed = ranks(block, slot, column)
            if not placed:
                continue
            column_test, compared = _prepared(table, block, slot, column, placed, images)
            prepared[i, slot] = replace(column_test, setting=group.label if group else "")
            pairs[i, slot] = compared
    tests = {at: [statistics.paired_test(a, b) for _, a, b, _ in each] for at, each in pairs.items()}
    adjusted = iter(statistics.holm([test.p_value for at in tests for test in tests[at]]))
    count = sum(a.shape[1] for each in pairs.values() for _, a, _, by_image in each if by_image)
    resamples = max(RESAMPLES[0], min(RESAMPLES[1], DRAWS // count)) if count else 0
    judged = {}
    for at, column_test in prepared.items():
        better = cast(Literal["min", "max"], column_test.column.better)
        comparisons = []
        for (other, a, b, by_image), test in zip(pairs[at], tests[at], strict=True):
            ahead = statistics.paired_bootstrap(a, b, better, resamples).share if by_image and bootstrap else None
            comparisons.append(Comparison(other, test, by_image, next(adjusted), ahead))
        judged[at] = replace(column_test, comparisons=comparisons, claim=_claim(column_test, comparisons))
    return judged


def no_comparison(table: Table) -> str:
    """Return why no column of ``table`` has a best row that is compared with others."""
    columns = [column for column in table.columns if column.better is not None]
    if columns and all(column.unranked for column in columns):
        return "; ".join(dict.fromkeys(column.unranked for column in columns))
    slots = [
        (slot, column) for slot, (_, column) in enumerate(table.slots) if column in columns and not column.unranked
    ]
    if not slots:
        return "no column has a better direction"
    valued = [
        [row.cells[slot] for row in block.rows if row.cells[slot].values and not row.upper_bound]
        for block in table.blocks
        for slot, _ in slots
    ]
    if all(len(cells) < 2 for cells in valued):
        return "fewer than two rows have values"
    if all(sum(not cell.unranked for cell in cells) < 2 for cells in valued):
        reasons = dict.fromkeys(cell.unranked for cells in valued for cell in cells if cell.unranked)
        return f"fewer than two rows compete, the others are not ranked ({', '.join(reasons)})"
    return "the rows that compete have equal values, as shown"


def _prepared(
    table: Table, block: RowBlock, slot: int, column: Column, placed: Mapping[int, str], images: Images
) -> tuple[ColumnTest, list[PairedValues]]:
    """Return the column test before its comparisons, and the pair for each of them."""
    best = [i for i, rank in placed.items() if rank == "best"]
    level = len(best) > 1
    leader, pairs, not_compared = block.rows[best[0]], [], []
    for i, row in enumerate(block.rows):
        if i in best or row.upper_bound or row.external:  # these are compared in tables.external
            continue
        if row.cells[slot].unranked:
            not_compared.append((row.label, row.cells[slot].unranked))
            continue
        pair = pair_cells(leader.cells[slot], row.cells[slot], f"{table.protocol}/{column.key}", images)
        if isinstance(pair, str):
            not_compared.append((row.label, pair))
        else:
            pairs.append((row.label, *pair))
    claim: Claim = "level" if level else "not comparable"
    names = ", ".join(block.rows[i].label for i in best)
    return ColumnTest(block.label, "", column, names, claim, (), not_compared), pairs


def pair_cells(one: Cell, other: Cell, name: str, images: Images) -> tuple[NDArray[Any], NDArray[Any], bool] | str:
    """Pair two cells on the seeds that the same machines trained, or say why not.

    Values of both, (S, N) with values per image, else (S, 1) with two or more seeds; and whether they are per image.
    """
    for cell in (one, other):
        if not cell.values:
            return "failed" if cell.status == "failed" else "not run"
    ours, theirs = (dict(zip(cell.seeds, cell.values, strict=True)) for cell in (one, other))
    seeds = [seed for seed in ours if seed in theirs]
    if not seeds:
        return "no common seed"
    seeds = [seed for seed in seeds if same_origin(one.origins.get(seed, ()), other.origins.get(seed, ()))]
    if not seeds:
        return MARKS["M"]
    arrays = [[images(cell.runs[seed], name) for seed in seeds] for cell in (one, other)]
    if all(each is not None for side in arrays for each in side):
        shapes = {cast(np.ndarray, each).shape for side in arrays for each in side}
        if len(shapes) != 1:
            return "other images"
        a, b = (np.stack(cast(list[np.ndarray], side)).astype(np.float64) for side in arrays)
    else:
        a, b = (np.array([[side[seed]] for seed in seeds], dtype=np.float64) for side in (ours, theirs))
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return "values that are not finite"
    if a.size < 2:
        return "one seed and no values per image"
    return a, b, a.shape[1] > 1


def _claim(column_test: ColumnTest, comparisons: Sequence[Comparison]) -> Claim:
    """Return the claim that the comparisons allow.

    A row that has values but could not be compared forbids a claim.
    """
    if column_test.claim == "level" or not comparisons:
        return column_test.claim
    if min(each.test.seeds for each in comparisons) < 2:
        return "one seed"
    compared = all(reason in NO_RIVALS for _, reason in column_test.not_compared)
    return "significant" if compared and all(each.adjusted < LEVEL for each in comparisons) else "open"
