"""Show how each protocol setting changes a run's values, as text and as data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from vqbench.evaluation.explaining.protocol_differences import (
    Explanation,
    MetricChange,
    Number,
    difference,
)
from vqbench.reporting.tables.table import Column

if TYPE_CHECKING:
    from vqbench.metric import Metric
    from vqbench.protocol import MeasureProtocol


WIDTH = 80  # columns of a page
HEAD = "one setting after the other"
SHORTEST, LONGEST = 8, 24  # columns of the widest bar


def text(explanation: Explanation) -> str:
    """Print the changes one after the other, then the change of each setting alone.

    The former with bars for each metric, the latter as a table. Changes are those of the values as shown.
    """
    run, plan = explanation.run, explanation.plan
    title = explanation.title
    if run is not None:
        on = f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed} ({run.key})"
        title = f"{on}, {explanation.images} test images"
    columns = [_column(name, metric) for name, metric in plan.metrics.items() if _moves(explanation, name)]
    charts = [_waterfall(explanation, column) for column in columns]
    table = _alone(explanation, columns) if plan.alone else ""
    remarks = "\n".join(_remarks(explanation, "–" in table))
    return "\n\n".join(filter(None, [title, *charts, table, remarks]))


def _waterfall(explanation: Explanation, column: Column) -> str:
    """Print values and changes of one metric, one setting after the other."""
    plan = explanation.plan
    start, end = explanation.start(column.key), explanation.end(column.key)
    changes = list(explanation.cumulative(column.key))
    if not changes:
        return f"{column.head}: {_shown(column, start)} under {plan.start.name} and under {plan.end.name}"
    rows = [(_short(plan.start), _shown(column, start), "")]
    rows += [(change.setting.title, *_cells(column, change.before, change.after)) for change in changes]
    rows.append((_short(plan.end), *_cells(column, start, end)))
    widths = [max(len(row[place]) for row in (*rows, (HEAD, column.head, "change"))) for place in range(3)]
    space = min(LONGEST, max(SHORTEST, WIDTH - sum(widths) - 6))
    bars = ["", *_bars([(change.before, change.after) for change in changes], space), ""]
    lines = [(HEAD, column.head, "change", ""), *((*row, bar) for row, bar in zip(rows, bars, strict=True))]
    return "\n".join(f"{a:{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}  {d}".rstrip() for a, b, c, d in lines)


def _short(under: MeasureProtocol) -> str:
    """Return the name of a protocol, and whether settings follow it."""
    name, plus, _ = under.name.partition("+")
    return f"{name}, changed" if plus else name


def _bars(steps: Sequence[tuple[Number, Number]], space: int) -> list[str]:
    """Draw a bar from value to value of each step, in ``space`` columns.

    None where a value is not finite.
    """
    ends = [end for step in steps for end in step if end is not None and math.isfinite(end)]
    if len(ends) < 2 * len(steps) or not ends:
        return [""] * len(steps)
    low, unit = min(ends), (max(ends) - min(ends)) / space or 1.0
    places = [sorted(round((end - low) / unit) for end in step if end is not None) for step in steps]
    starts = [min(left, space - 1) for left, _ in places]
    return [" " * start + "█" * max(1, right - start) for start, (_, right) in zip(starts, places, strict=True)]


def _alone(explanation: Explanation, columns: Sequence[Column]) -> str:
    """Tabulate the change of each setting alone; a dash where it moves nothing."""
    of = {column.key: {change.setting: change for change in explanation.alone(column.key)} for column in columns}
    rows = [[_short(explanation.plan.start), *(_shown(column, explanation.start(column.key)) for column in columns)]]
    for setting in explanation.plan.alone:
        changes = [(column, of[column.key].get(setting)) for column in columns]
        cells = [_cells(column, each.before, each.after)[1] if each else "–" for column, each in changes]
        if any(cell != "–" for cell in cells):
            rows.append([setting.title, *cells])
    heads = ["one setting alone: the change", *(column.head for column in columns)]
    alignment = ["left", *["right"] * len(columns)]
    return tabulate(rows, heads, "simple", disable_numparse=True, colalign=alignment) if columns else ""


def _cells(column: Column, before: Number, after: Number) -> tuple[str, str]:
    """Return a value and its change, computed from the values as shown."""
    then, now = _shown(column, before), _shown(column, after)
    finite = difference(before, after) is not None
    return now, f"{Decimal(now) - Decimal(then):+zf}" if finite else "undefined"


def _shown(column: Column, value: Number) -> str:
    return "none" if value is None else column.shown(value)


def _remarks(explanation: Explanation, dashes: bool) -> Iterator[str]:
    if dashes:
        yield "–: the setting cannot move the metric."
    for name, metric in explanation.plan.metrics.items():
        value = explanation.start(name)
        if value is None:
            yield f"{metric.label} is undefined for this run."
        elif not _moves(explanation, name):
            yield f"{metric.label} is {_shown(_column(name, metric), value)} under both protocols; no setting moves it."
    yield from (f"{sentence}." for sentence in explanation.plan.left_out)


def _column(name: str, metric: type[Metric]) -> Column:
    """Return a column with one more decimal than in tables, as changes are small."""
    return Column(name, metric.label, metric.unit, metric.better, metric.digits + 1)


def _moves(explanation: Explanation, name: str) -> bool:
    """Return whether the metric is defined for the run and some setting can move it."""
    settings = (*explanation.plan.cumulative, *explanation.plan.alone)
    return explanation.start(name) is not None and any(name in setting.metrics for setting in settings)


def data(explanation: Explanation) -> dict[str, Any]:
    """Convert the explanation to plain data at full precision; infinity is "inf"."""
    plan = explanation.plan

    def change(effect: MetricChange) -> dict[str, Any]:
        knob, under = effect.setting.knob, effect.setting.under
        setting = {
            "knob": knob,
            "from": getattr(effect.setting.start, knob),
            "to": getattr(under, knob),
            "protocol": under.name,
        }
        numbers = {"before": _plain(effect.before), "value": _plain(effect.after), "change": effect.difference}
        return {**setting, **numbers, "reason": under.knobs()[knob].reason}

    def metric(name: str) -> dict[str, Any]:
        start, end = explanation.start(name), explanation.end(name)
        return {
            plan.start.name: _plain(start),
            plan.end.name: _plain(end),
            "change": difference(start, end),
            "steps": [change(effect) for effect in explanation.cumulative(name) if start is not None],
            "alone": [change(effect) for effect in explanation.alone(name) if start is not None],
        }

    return {
        **_subject(explanation),
        "images": explanation.images,
        "metrics": {name: metric(name) for name in plan.metrics},
        "left_out": list(plan.left_out),
    }


def _subject(explanation: Explanation) -> dict[str, Any]:
    run = explanation.run
    if run is None:
        return {}
    return {"run": {"key": run.key, "quantizer": run.quantizer.name, "dataset": run.dataset.name, "seed": run.seed}}


def _plain(value: Number) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)
