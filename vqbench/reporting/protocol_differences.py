"""Show how each protocol setting changes a run's values, as text and as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from vqbench import protocol
from vqbench.errors import RunError
from vqbench.protocol import MeasureProtocol
from vqbench.reporting.tables.table import Column
from vqbench.spec import RunSpec

if TYPE_CHECKING:
    from vqbench.metric import Metric

START, END = protocol.MEASURE["official"], protocol.MEASURE["clean"]

Number = float | None  # None where a metric says nothing about such a run


@dataclass(frozen=True)
class Turn:
    """One knob turned; ``under`` is the protocol after it."""

    knob: str
    under: MeasureProtocol
    metrics: tuple[str, ...]  # those that the knob can move

    @property
    def title(self) -> str:
        return f"{self.knob} {word(getattr(START, self.knob))} → {word(getattr(self.under, self.knob))}"


@dataclass(frozen=True)
class Programme:
    """What is to be measured: the cumulative ``way`` from START to END, each knob ``alone``, and what is left out."""

    metrics: Mapping[str, type[Metric]]
    way: Sequence[Turn]
    alone: Sequence[Turn]
    left_out: Sequence[str]  # a sentence each

    def wanted(self) -> dict[MeasureProtocol, list[str]]:
        """Which metrics are needed under which protocol; all of them under both ends."""
        wanted = {START: list(self.metrics), END: list(self.metrics)}
        for turn in (*self.way, *self.alone):
            names = wanted.setdefault(turn.under, [])
            names += [name for name in turn.metrics if name not in names]
        return wanted


@dataclass(frozen=True)
class Move:
    """What a turn did to one metric."""

    turn: Turn
    before: Number
    after: Number

    @property
    def change(self) -> Number:
        return _difference(self.before, self.after)


@dataclass(frozen=True)
class Explanation:
    """What was measured of ``run``, on ``images`` images."""

    run: RunSpec
    images: int
    programme: Programme
    values: Mapping[MeasureProtocol, Mapping[str, Number]]  # protocol -> metric -> value

    def __post_init__(self) -> None:
        """Check that the knobs of every metric lead from START to its value under END.

        Raises RunError otherwise.
        """
        for name in self.programme.metrics:
            *_, arrived = self.values[START][name], *(move.after for move in self.way(name))
            end = self.values[END][name]
            if arrived != end and not _close(arrived, end):
                raise RunError(
                    f"metric {name!r} is {arrived} after the knobs that it names and {end} under {END.name!r}: "
                    "a setting moves it that its `knobs` lack"
                )

    def way(self, name: str) -> Iterator[Move]:
        """The turns that can move the metric ``name``, each from where the one before it arrived."""
        before = self.values[START][name]
        for turn in self.programme.way:
            if name in turn.metrics:
                yield Move(turn, before, self.values[turn.under][name])
                before = self.values[turn.under][name]

    def alone(self, name: str) -> Iterator[Move]:
        """The turns that can move the metric ``name``, each from START."""
        for turn in self.programme.alone:
            if name in turn.metrics:
                yield Move(turn, self.values[START][name], self.values[turn.under][name])


def text(explanation: Explanation) -> str:
    """Print the changes one after the other, and each alone, in two tables.

    Changes are those of the values as shown.
    """
    run, what = explanation.run, explanation.programme
    title = f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed} ({run.key}), {explanation.images} test images"
    columns = [_column(name, metric) for name, metric in what.metrics.items() if _moves(explanation, name)]
    start, end = explanation.values[START], explanation.values[END]
    first = [START.name, *(cell for column in columns for cell in (_shown(column, start[column.key]), ""))]
    last = [f"{END.name}, and all changes"]
    last += [cell for column in columns for cell in _cells(column, start[column.key], end[column.key])]
    way = [first, *_rows(what.way, columns, explanation.way), last]
    alone = [first, *_rows(what.alone, columns, explanation.alone)]
    tables = [_grid("one setting after the other", columns, way), _grid("one setting alone", columns, alone)]
    return "\n\n".join([title, *(tables if columns else []), "\n".join(_remarks(explanation, bool(columns)))])


def _rows(turns: Sequence[Turn], columns: Sequence[Column], moves: Callable[[str], Iterator[Move]]) -> list[list[str]]:
    """One row a turn; a dash where it cannot move the metric."""
    of = {column.key: {move.turn: move for move in moves(column.key)} for column in columns}
    rows = []
    for turn in turns:
        found = [(column, of[column.key].get(turn)) for column in columns]
        cells = [_cells(column, move.before, move.after) if move else ("–", "") for column, move in found]
        rows.append([turn.title, *(cell for pair in cells for cell in pair)])
    return rows


def _cells(column: Column, before: Number, after: Number) -> tuple[str, str]:
    """A value, and its change as one gets it from the values as shown."""
    then, now = _shown(column, before), _shown(column, after)
    finite = _difference(before, after) is not None
    return now, f"{Decimal(now) - Decimal(then):+zf}" if finite else "undefined"


def _shown(column: Column, value: Number) -> str:
    return "none" if value is None else column.shown(value)


def _grid(head: str, columns: Sequence[Column], rows: list[list[str]]) -> str:
    heads = [head, *(cell for column in columns for cell in (column.head, "change"))]
    alignment = ["left", *["right"] * (len(heads) - 1)]
    return tabulate(rows, heads, "simple", disable_numparse=True, colalign=alignment)


def _remarks(explanation: Explanation, dashes: bool) -> Iterator[str]:
    if dashes:
        yield "–: the setting cannot move the metric."
    for name, metric in explanation.programme.metrics.items():
        value = explanation.values[START][name]
        if value is None:
            yield f"{metric.label} says nothing about this run."
        elif not _moves(explanation, name):
            yield f"{metric.label} is {_shown(_column(name, metric), value)} under both protocols; no setting moves it."
    yield from (f"{sentence}." for sentence in explanation.programme.left_out)


def _column(name: str, metric: type[Metric]) -> Column:
    """With a decimal more than in tables, as changes are small."""
    return Column(name, metric.label, metric.unit, metric.better, metric.digits + 1)


def _moves(explanation: Explanation, name: str) -> bool:
    """Whether the metric says something about the run that some turn can move."""
    what = explanation.programme
    return explanation.values[START][name] is not None and any(
        name in turn.metrics for turn in (*what.way, *what.alone)
    )


def data(explanation: Explanation) -> dict[str, Any]:
    """The explanation as plain data, at full precision; infinity is the word ``inf``."""
    run, what = explanation.run, explanation.programme

    def told(move: Move) -> dict[str, Any]:
        knob, under = move.turn.knob, move.turn.under
        setting = {"knob": knob, "from": getattr(START, knob), "to": getattr(under, knob), "protocol": under.name}
        numbers = {"before": _plain(move.before), "value": _plain(move.after), "change": move.change}
        return {**setting, **numbers, "reason": under.knobs()[knob].reason}

    def metric(name: str) -> dict[str, Any]:
        start, end = explanation.values[START][name], explanation.values[END][name]
        return {
            START.name: _plain(start),
            END.name: _plain(end),
            "change": _difference(start, end),
            "steps": [told(move) for move in explanation.way(name) if start is not None],
            "alone": [told(move) for move in explanation.alone(name) if start is not None],
        }

    return {
        "run": {"key": run.key, "quantizer": run.quantizer.name, "dataset": run.dataset.name, "seed": run.seed},
        "images": explanation.images,
        "metrics": {name: metric(name) for name in what.metrics},
        "left out": list(what.left_out),
    }


def _close(one: Number, other: Number) -> bool:
    """Equal up to what a GPU may do to the last bits."""
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def _difference(before: Number, after: Number) -> Number:
    """None where there is none: a value is missing or infinite."""
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return None
    return after - before


def _plain(value: Number) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def word(value: Any) -> str:
    return str(value).lower()  # None is "none"
