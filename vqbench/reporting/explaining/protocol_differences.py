"""Show how each protocol setting changes a run's values, as text and as data."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tabulate import tabulate

from vqbench.evaluation.explaining.protocol_differences import (
    Explanation,
    MetricChange,
    Number,
    SettingChange,
    difference,
)
from vqbench.reporting.tables.table import Column

if TYPE_CHECKING:
    from vqbench.metric import Metric


BAR = 24  # columns of the widest bar of a waterfall


def text(explanation: Explanation) -> str:
    """Print the changes one after the other, and each alone, in two tables.

    Changes are those of the values as shown.
    """
    run, plan = explanation.run, explanation.plan
    title = explanation.title
    if run is not None:
        on = f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed} ({run.key})"
        title = f"{on}, {explanation.images} test images"
    columns = [_column(name, metric) for name, metric in plan.metrics.items() if _moves(explanation, name)]
    first, last = [plan.start.name], [f"{plan.end.name}, and all changes"]
    for column in columns:
        start, end = explanation.start(column.key), explanation.end(column.key)
        first += [_shown(column, start), ""]
        last += _cells(column, start, end)
    cumulative = [first, *_rows(plan.cumulative, columns, explanation.cumulative), last]
    alone = [first, *_rows(plan.alone, columns, explanation.alone)]
    tables = [_grid("one setting after the other", columns, cumulative), _grid("one setting alone", columns, alone)]
    charts = [] if run is not None else [_waterfall(explanation, column) for column in columns]
    remarks = "\n".join(_remarks(explanation, bool(columns)))
    return "\n\n".join(filter(None, [title, *(tables if columns else []), *charts, remarks]))


def _waterfall(explanation: Explanation, column: Column) -> str:
    """Draw the changes of one metric as bars from value to value."""
    changes = list(explanation.cumulative(column.key))
    finite = [change for change in changes if change.difference is not None]
    if not finite or len(finite) < len(changes):
        return ""
    ends = [end for change in finite for end in (change.before, change.after) if end is not None]
    low, high = min(ends), max(ends)
    step = (high - low) / BAR or 1.0
    width = max(len(change.setting.title) for change in finite)
    lines = [column.head]
    for change in finite:
        left, right = sorted(round((end - low) / step) for end in (change.before, change.after) if end is not None)
        _, moved = _cells(column, change.before, change.after)
        lines.append(f"{change.setting.title:{width}}  {moved:>10}  {' ' * left}{'█' * max(1, right - left)}".rstrip())
    return "\n".join(lines)


def _rows(
    settings: Sequence[SettingChange], columns: Sequence[Column], changes: Callable[[str], Iterator[MetricChange]]
) -> list[list[str]]:
    """Return one row per setting; a dash where it cannot move the metric."""
    of = {column.key: {change.setting: change for change in changes(column.key)} for column in columns}
    rows = []
    for setting in settings:
        row = [setting.title]
        for column in columns:
            change = of[column.key].get(setting)
            row += _cells(column, change.before, change.after) if change else ("–", "")
        rows.append(row)
    return rows


def _cells(column: Column, before: Number, after: Number) -> tuple[str, str]:
    """Return a value and its change, computed from the values as shown."""
    then, now = _shown(column, before), _shown(column, after)
    finite = difference(before, after) is not None
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
        setting = {"knob": knob, "from": getattr(plan.start, knob), "to": getattr(under, knob), "protocol": under.name}
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
