"""Compare external rows with trained ones, in pairs by image.

Each external row is compared with every trained row of its block that has values per image, by
:func:`vqbench.reporting.statistics.paired_test`; an external row stands against all seeds of a trained one. Holm's
method corrects all p-values of external rows of a table together, apart from those of trained rows, so that a claim on
trained rows does not depend on what else is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqbench.reporting import statistics
from vqbench.reporting.tables.external.rows import ExternalRows
from vqbench.reporting.tables.stored_runs import StoredRun, StoredRuns
from vqbench.reporting.tables.table import Cell, Column, RowBlock, Table
from vqbench.system.console import one_line

LEVEL = 0.05
WORDS = ("ahead of", "behind", "within noise of")


@dataclass(frozen=True)
class ExternalComparison:
    """An external row against one trained row in one column of cells."""

    where: str  # data set and setting, for tables with several
    row: str
    column: Column
    other: str
    test: statistics.PairedTest  # of external − trained

    def word(self, p_value: float) -> str:
        """Return how the external row stands to the trained one."""
        if p_value >= LEVEL:
            return WORDS[2]
        return WORDS[int((self.test.difference > 0) != (self.column.better == "max"))]


def comparison_lines(table: Table, external: ExternalRows, stored: StoredRuns) -> list[str]:
    """Return a line on the method, then one per external row and metric.

    Empty where no values per image can be compared.
    """
    found = list(_comparisons(table, external, stored)) if external else []
    if not found:
        return []
    adjusted = statistics.holm([each.test.p_value for each in found])
    lines: dict[str, dict[str, list[str]]] = {}
    for each, p_value in zip(found, adjusted, strict=True):
        place = f"{each.where}: " if each.where else ""
        words = lines.setdefault(f"{place}{each.column.label}: {each.row} is", {word: [] for word in WORDS})
        words[each.word(p_value)].append(each.other)
    seeds = min(each.test.seeds for each in found)
    caveat = "; with one seed, two trained models are compared, not two methods" if seeds == 1 else ""
    method = (
        f"E rows against trained rows, in pairs by image: paired tests at 5 %, {len(found)} p-values corrected by "
        f"Holm's method{caveat}."
    )
    return [method, *(f"{start} {_listed(words)}." for start, words in lines.items())]


def _listed(words: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{word} {', '.join(names)}" for word, names in words.items() if names)


def _comparisons(table: Table, external: ExternalRows, stored: StoredRuns) -> Iterator[ExternalComparison]:
    by_key = {each.run.key: each for each in stored}
    for block in table.blocks:
        trained = [row for row in block.rows if not row.external and not row.upper_bound]
        for slot, (_, column) in enumerate(table.slots):
            if column.better is None or column.unranked:
                continue
            for row in (row for row in block.rows if row.external):
                dataset, where = _place(table, block, slot, stored)
                ours = external.images(dataset, row.label, column.key) if row.cells[slot].values else None
                for other in trained if ours is not None else ():
                    theirs = _images(other.cells[slot], f"{table.protocol}/{column.key}", by_key, stored)
                    if theirs is not None and ours is not None and (test := _test(ours, theirs)) is not None:
                        yield ExternalComparison(where, one_line(row.label), column, one_line(other.label), test)


def _place(table: Table, block: RowBlock, slot: int, stored: StoredRuns) -> tuple[str, str]:
    """Return the data set of some cells, and where they are in words.

    A table of one data set may not name it: its blocks are then settings.
    """
    datasets = stored.plan.datasets
    dataset, setting = table.coordinates(block, slot)
    if dataset not in datasets:
        dataset, setting = next(iter(datasets)), block.label
    titles = [datasets[dataset].title] if len(datasets) > 1 else []
    return dataset, ", ".join([*titles, *([setting] if setting else [])])


def _images(cell: Cell, name: str, by_key: Mapping[str, StoredRun], stored: StoredRuns) -> NDArray[np.float64] | None:
    """Return values per image of a trained row, (S, N).

    None where a seed has none.
    """
    arrays = [stored.images(by_key[cell.runs[seed]]).get(name) for seed in cell.seeds]
    known = [each for each in arrays if each is not None]
    if not known or len(known) < len(arrays) or len({each.shape for each in known}) > 1:
        return None
    return np.stack(known).astype(np.float64)


def _test(ours: NDArray[np.float32], theirs: NDArray[np.float64]) -> statistics.PairedTest | None:
    """Test (N,) against (S, N); None for other images, or values that are not finite."""
    if ours.shape != theirs.shape[1:] or theirs.size < 2:
        return None
    a = np.broadcast_to(ours.astype(np.float64), theirs.shape)
    return statistics.paired_test(a, theirs) if np.isfinite(a).all() and np.isfinite(theirs).all() else None
