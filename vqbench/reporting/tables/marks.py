"""Mark rows whose values need a caveat, and exclude some of them from ranks.

B, another budget (:mod:`vqbench.reporting.tables.budget`): not ranked.
M, trained on other machines than most rows of the block: not ranked with one seed, since the effect of the machine is
unknown; ranked with several seeds, whose spread bounds it.
S, a learned state of more than 1.25 times the median of the block: ranked.
D, codes that depend on the batch in evaluation too, as the method declares: ranked.

Of the machines that trained a block, the most frequent is the reference. Where two are equally frequent, none is, and
all rows are marked. Upper bounds are marked like other rows, but no row is compared with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from vqbench.reporting.tables import budget as budgets
from vqbench.reporting.tables.table import MARKS, OTHER_SIZE, Cell, Column, Mark, Row
from vqbench.reporting.tables.training_facts import TrainingFacts

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True)
class Marked:
    """The marked rows of a block, and for each kind of mark the rows that have it."""

    rows: list[Row]
    notes: dict[str, list[str]]


def mark(rows: Sequence[Row], trained: Sequence[Sequence[TrainingFacts]], columns: Sequence[Column]) -> Marked:
    """Mark the cells of one block.

    ``trained`` has, for every row, the facts of each group of ``columns``.
    """
    rows, notes = list(rows), dict[str, list[str]]()
    width = len(columns)
    for group in range(len(trained[0]) if trained else 0):
        part = _ColumnGroupMarks(
            rows, [each[group] for each in trained], slice(group * width, (group + 1) * width), columns
        )
        for number, row in enumerate(rows):
            cells = list(row.cells)
            cells[part.at] = part.cells(number)
            rows[number] = replace(row, cells=cells)
        for kind, words in part.notes().items():
            notes.setdefault(kind, []).extend(words)
    return Marked(rows, notes)


class _ColumnGroupMarks:
    """The marks of one group of columns of one block, whose rows are compared."""

    def __init__(
        self, rows: Sequence[Row], trained: Sequence[TrainingFacts], at: slice, columns: Sequence[Column]
    ) -> None:
        self.rows, self.trained, self.at, self.columns = rows, trained, at, columns
        competing = [i for i, row in enumerate(rows) if trained[i] and not row.upper_bound]
        self.budgets = [each for i in competing for each in dict.fromkeys(trained[i].budgets)]
        self.differences = [self._differences(each) for each in trained]
        self.states = [max((b.state for b in each.budgets if b.state is not None), default=None) for each in trained]
        self.state = budgets.usual_state(self.budgets)
        equal = [i for i in competing if not self.differences[i]]
        self.counted = Counter(trained[i].machines for i in equal or competing)
        self.machines = commonest(self.counted)
        self.sizes = {i: frozenset(b.codes for b in trained[i].budgets) for i in equal}
        self.size = commonest(Counter(self.sizes.values()))

    def _differences(self, each: TrainingFacts) -> dict[str, tuple[float, float]]:
        return {name: pair for one in each.budgets for name, pair in budgets.differences(one, self.budgets).items()}

    def marks(self, number: int) -> list[Mark]:
        """Return the marks of a row, in the order in which a legend explains them."""
        state, facts = self.states[number], self.trained[number]
        applies: dict[Mark, bool] = {
            "B": bool(self.differences[number]),
            "M": bool(facts and self.counted) and facts.machines != self.machines,
            "S": state is not None and self.state is not None and state > budgets.LARGER * self.state,
            "D": bool(facts) and self.rows[number].batch_dependent,
        }
        return [kind for kind, is_so in applies.items() if is_so]

    def cells(self, number: int) -> list[Cell]:
        """Return the cells of a row with marks and reasons for not being ranked."""
        marks = self.marks(number)
        cells = zip(self.rows[number].cells[self.at], self.columns, strict=True)
        return [
            replace(cell, marks=marks if cell.values else (), unranked=self._unranked(number, cell, column, marks))
            for cell, column in cells
        ]

    def _unranked(self, number: int, cell: Cell, column: Column, marks: Sequence[Mark]) -> str:
        if "B" in marks:
            return MARKS["B"]
        if "M" in marks and len(cell.values) == 1:
            return MARKS["M"]
        other = column.by_codebook and number in self.sizes and self.sizes[number] != self.size
        return OTHER_SIZE if other else ""

    def notes(self) -> dict[str, list[str]]:
        """Return which rows differ and in what, for each kind of mark.

        "K" stands for codebook sizes.
        """
        marks = [self.marks(i) for i in range(len(self.rows))]
        notes = {
            "B": [f"{self._label(i)} ({self._budget(i)})" for i, each in enumerate(marks) if "B" in each],
            "M": [f"{self._label(i)} ({_names(self.trained[i])})" for i, each in enumerate(marks) if "M" in each],
            "S": [f"{self._label(i)} ({self._state(i)})" for i, each in enumerate(marks) if "S" in each],
            "D": [self._label(i) for i, each in enumerate(marks) if "D" in each],
            "K": [f"{self._label(i)} ({_codes(size)})" for i, size in self.sizes.items() if size != self.size],
        }
        return {kind: words for kind, words in notes.items() if words}

    def _label(self, number: int) -> str:
        return self.rows[number].label

    def _budget(self, number: int) -> str:
        pairs = self.differences[number].items()
        return ", ".join(f"{own:,.10g} {budgets.QUANTITIES[name]}, not {other:,.10g}" for name, (own, other) in pairs)

    def _state(self, number: int) -> str:
        return f"{self.states[number]:,} against a median of {self.state:,.10g}"


def commonest(counted: Counter[T]) -> T | None:
    """Return the most frequent element; None if none exists or two are level."""
    first = counted.most_common(2)
    return None if not first or (len(first) == 2 and first[0][1] == first[1][1]) else first[0][0]


def _names(trained: TrainingFacts) -> str:
    return " and ".join(sorted(map(str, trained.machines)))


def _codes(sizes: frozenset[int | None]) -> str:
    return " and ".join("unknown size" if size is None else f"{size:,} codes" for size in sorted(sizes, key=str))


def about_marks(marked: Sequence[tuple[str, Mapping[str, list[str]]]], columns: Sequence[Column]) -> list[str]:
    """Explain marks, and codebooks that are not ranked: one sentence per kind.

    ``marked`` has for every block its heading and its notes, see :class:`Marked`.
    """
    several = sum(bool(notes) for _, notes in marked) > 1
    details: dict[str, list[str]] = {}
    for label, notes in marked:
        for kind, words in notes.items():
            where = f"{label}: " if several and label else ""
            details.setdefault(kind, []).append(where + "; ".join(dict.fromkeys(words)))
    starts = {
        "B": "Other budget",
        "M": "Other machine",
        "S": "Larger learned state",
        "D": "Codes depend on the other images of the batch, in evaluation too",
    }
    if ranked := [column.label for column in columns if column.by_codebook and not column.unranked]:
        verb = "is" if len(ranked) == 1 else "are"
        starts["K"] = f"{' and '.join(ranked)} {verb} not ranked for other codebook sizes"
    lines = [f"{start}: {'; '.join(details[kind])}." for kind, start in starts.items() if kind in details]
    return [*lines, budgets.DEFINITION] if "B" in details else lines
