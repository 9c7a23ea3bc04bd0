"""State in one sentence what a column of a table shows, and how certain it is."""

from __future__ import annotations

from collections.abc import Sequence

from vqbench.errors import counted
from vqbench.reporting.column_tests import LEVEL, ColumnTest
from vqbench.reporting.tables.table import Column, RowBlock, ranks

EXTREMES = {"min": "lowest", "max": "highest"}
NAMED = 3  # rows that a sentence names at most


def finding(block: RowBlock, column: Column, slot: int, test: ColumnTest | None, corrected: int) -> str:
    """Return which row leads in one column of a block, and whether beyond chance.

    ``slot`` is the column's position among the cells; ``corrected`` the number of comparisons that Holm's method
    corrects together. Without a ``test``, the sentence says why no row leads.
    """
    if column.better is None:
        return f"{column.label} has no better direction."
    if column.unranked:
        return f"{column.label} is not ranked: {column.unranked}."
    if test is None:
        return f"No row leads in {column.label}."
    best = next(i for i, rank in ranks(block, slot, column).items() if rank == "best")
    value = f"{block.rows[best].cells[slot].shown(column)} {column.unit}".strip()
    if test.claim == "level":
        return f"{test.best} share the {EXTREMES[column.better]} {column.label} ({value})."
    return f"{test.best} has the {EXTREMES[column.better]} {column.label} ({value}){_certainty(test, corrected)}."


def _certainty(test: ColumnTest, corrected: int) -> str:
    """Return whether the lead holds beyond chance, and on what basis."""
    compared = test.comparisons
    if not compared:
        return "; one seed without values per image allows no comparison" if test.claim == "not comparable" else ""
    level = [each.other for each in compared if each.adjusted >= LEVEL]
    seeds = min(each.test.seeds for each in compared)
    images = min((each.test.images for each in compared if each.by_image), default=0)
    basis = " and ".join(filter(None, [f"{images:,} images" if images else "", counted(seeds, "seed")]))
    holm = f"{LEVEL:.0%} after Holm's correction of {corrected}, paired by {basis}".replace("%", " %")
    if seeds == 1:
        ahead = f"{len(compared) - len(level)} of {counted(len(compared), 'other')}" if level else _every(len(compared))
        return f"; as one trained model each, it is ahead of {ahead} ({holm})"
    if test.claim == "significant":
        return f", ahead of {_every(len(compared))} beyond chance ({holm})"
    others = level or [other for other, _ in test.not_compared]
    names = ", ".join(others[:NAMED]) + (f" and {len(others) - NAMED} more" if len(others) > NAMED else "")
    return f", but not ahead of {names} beyond chance ({holm})"


def _every(others: int) -> str:
    return "the other row" if others == 1 else f"all {others} others"


def unused_codes(usages: Sequence[float]) -> str:
    """Return how many rows leave most of their codes unused.

    ``usages``: shares of used codes of the rows with a codebook, in [0, 1]. Empty where no row leaves so many.
    """
    few = sum(usage < 0.5 for usage in usages)
    return f"{few} of {len(usages)} methods leave more than half of their codes unused." if few else ""
