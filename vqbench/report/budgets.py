"""Were the rows of a table trained under equal budgets? A footnote wherever one was not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from vqbench.report.gather import RunView
from vqbench.tables.table import Block, Row, Table

QUANTITIES = {
    "parameters": "trained parameters",
    "updates": "updates",
    "images": "pictures seen",
    "bits": "bits a picture",
}


def with_budgets(table: Table, runs: Mapping[str, RunView]) -> Table:
    """``table``, whose rows have a footnote where their budget is not that of most rows of their block."""
    return replace(table, blocks=[_block(block, runs) for block in table.blocks])


def _block(block: Block, runs: Mapping[str, RunView]) -> Block:
    rows = list(block.rows)
    for quantity, word in QUANTITIES.items():
        values = [_values(row, runs, quantity) for row in block.rows]
        usual = _usual(values)
        for i, has in enumerate(values):
            other = [value for value in has if value != usual]
            if other:
                told = " and ".join(f"{value:,.10g}" for value in other)
                note = f"Not an equal budget: {told} {word}, where most rows of the block have {usual:,.10g}."
                rows[i] = replace(rows[i], footnotes=[*rows[i].footnotes, note])
    return replace(block, rows=rows)


def _values(row: Row, runs: Mapping[str, RunView], quantity: str) -> list[float]:
    """What the runs of a row had of one quantity, where that is known; a row without a quantizer has no bits."""
    keys = dict.fromkeys(key for cell in row.cells for key in cell.runs.values())
    known = [getattr(runs[key].budget, quantity) for key in keys if runs[key].record]
    return list(dict.fromkeys(value for value in known if value is not None))


def _usual(values: Sequence[Sequence[float]]) -> float:
    """What most rows have; of several, what comes first."""
    counts = Counter(value for each in values for value in each)
    return counts.most_common(1)[0][0] if counts else 0.0
