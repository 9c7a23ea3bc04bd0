"""Convert a suite to its atlas as plain data: one line per method."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqbench.reporting import statistics
from vqbench.reporting.column_tests import ColumnTest, judge_columns
from vqbench.reporting.html.codebooks import usage_path
from vqbench.reporting.html.finding import finding, unused_codes
from vqbench.reporting.html.images import SCORE, row_thumbnails, thumbnails
from vqbench.reporting.html.suite_view import RunView, SuiteView
from vqbench.reporting.tables.budget import BITS
from vqbench.reporting.tables.formats.layout import layout
from vqbench.reporting.tables.table import Cell, Column, ColumnGroup, Row, RowBlock, Table
from vqbench.system.console import one_line

COLUMNS, COLUMNS_OF_SEEDS = 4, 3  # of values that a page shows at first, the latter beside their spread over seeds
SHOWN = ("axis", "codes", "entropy", "parameters", "milliseconds", "images")  # columns besides the metrics
FACTS = ("entropy", "bits", "parameters", "milliseconds")


def atlas(suite: SuiteView) -> list[dict[str, Any]]:
    """Return one view per measuring protocol, with a panel per data set and setting."""
    return [_view(suite, table) for table in suite.tables]


def _view(suite: SuiteView, table: Table) -> dict[str, Any]:
    tests = judge_columns(table, suite.images)
    corrected = sum(len(test.comparisons) for test in tests.values())
    width = len(table.columns)
    panels = []
    for b, block in enumerate(table.blocks):
        for g, group in enumerate(table.groups or [None]):
            judged = {slot - g * width: test for (at, slot), test in tests.items() if at == b and slot // width == g}
            panels.append(_panel(suite, table, block, group, g * width, judged, corrected))
    metric = _leading(suite, table.columns)
    most = COLUMNS if len(suite.plan.suite.seeds) == 1 else COLUMNS_OF_SEEDS
    return {
        "protocol": table.protocol,
        "key": table.key or table.title,
        "basis": table.basis,
        "columns": [
            _column(column, i in _first(table.columns, metric, most)) for i, column in enumerate(table.columns)
        ],
        "metric": metric,
        "panels": panels,
        "findings": [_sentence(panels, i) for i in range(width)],
        "facts": [name for name in SHOWN if any(_known(row, name) for panel in panels for row in panel["rows"])],
        "legend": _legend(table, panels),
        "unused": unused_codes([row["used"] for panel in panels for row in panel["rows"] if row["used"] is not None]),
    }


def _legend(table: Table, panels: Sequence[Mapping[str, Any]]) -> str:
    """Explain the marks of the table other than best and second best."""
    rows = [row for panel in panels for row in panel["rows"]]
    hollow = {
        "Hollow dot: upper bound, not ranked.": any(row["bound"] for row in rows),
        "Hollow square: row not trained here, not ranked.": any(row["external"] for row in rows),
    }
    return " ".join(filter(None, [layout(table).marks, *(words for words, shown in hollow.items() if shown)]))


def _leading(suite: SuiteView, columns: Sequence[Column]) -> int:
    """Return the position of the leading column: of samples, for generators."""
    ranked = [i for i, column in enumerate(columns) if column.better and not column.unranked and column.key != BITS]
    infos = suite.plan.metrics
    of_samples = [i for i in ranked if columns[i].key in infos and infos[columns[i].key].of_samples]
    ranked = of_samples or ranked
    return next((i for i in ranked if columns[i].label == SCORE), ranked[0] if ranked else 0)


def _first(columns: Sequence[Column], metric: int, most: int) -> set[int]:
    """Return the positions of ``most`` columns or fewer, shown at first."""
    order = sorted(
        range(len(columns)), key=lambda i: (i != metric, not columns[i].better, bool(columns[i].unranked), i)
    )
    return {i for i in order if columns[i].key != BITS and columns[i].better}.intersection(order[:most])


def _column(column: Column, shown: bool) -> dict[str, Any]:
    names = ("key", "label", "unit", "better", "digits", "unranked")
    return {name: getattr(column, name) for name in names} | {"head": column.head, "shown": shown}


def _sentence(panels: Sequence[Mapping[str, Any]], i: int) -> str:
    """Return the finding of one column, panel by panel; once where all say the same."""
    findings = [str(panel["findings"][i]) for panel in panels]
    if len(set(findings)) == 1:
        return findings[0]
    return " ".join(f"{panel['heading']}: {said}" for panel, said in zip(panels, findings, strict=True))


def _known(row: Mapping[str, Any], name: str) -> bool:
    """Return whether a row has something to show in a column that is no metric."""
    if name == "axis":
        return any(cell["mean"] is not None for cell in row["cells"])
    if name == "entropy":
        return row["facts"]["entropy"] is not None or row["facts"]["bits"] is not None
    return (row["facts"][name] if name in FACTS else row[{"codes": "usage"}.get(name, name)]) is not None


def _panel(
    suite: SuiteView,
    table: Table,
    block: RowBlock,
    group: ColumnGroup | None,
    start: int,
    tests: Mapping[int, ColumnTest],
    corrected: int,
) -> dict[str, Any]:
    """Return the rows of one block and one group of columns, from cell ``start`` on."""
    heading = ", ".join(filter(None, [one_line(block.label), one_line(group.label) if group else ""]))
    rows = [_row(suite, table, row, start) for row in block.rows]
    runs = [suite.by_key[key] for row in rows for key in row["runs"]]
    slots = range(len(table.columns))
    sampled = any(run.samples for row in rows for run in suite.generators(runs, row["label"]))
    return {
        "heading": heading,
        "rows": rows,
        "originals": None
        if sampled
        else next((shown for run in runs if (shown := thumbnails(run, originals=True))), None),
        "images": "samples" if sampled else "images",
        "findings": [finding(block, table.columns[i], start + i, tests.get(i), corrected) for i in slots],
    }


def _row(suite: SuiteView, table: Table, row: Row, start: int) -> dict[str, Any]:
    cells = row.cells[start : start + len(table.columns)]
    runs = [suite.by_key[key] for key in dict.fromkeys(key for cell in cells for key in cell.runs.values())]
    coded = next((run for run in map(suite.tokenizer, runs) if run.counts is not None), None)
    return {
        "label": one_line(row.label),
        "bound": row.upper_bound,
        "external": row.external,
        "notes": [one_line(note) for note in row.footnotes],
        "marks": list(dict.fromkeys(mark for cell in cells for mark in cell.marks)),
        "cells": [_cell(suite, table, column, cell) for column, cell in zip(table.columns, cells, strict=True)],
        "facts": {name: _fact(suite, runs, name) for name in FACTS},
        "runs": [run.key for run in runs],
        "usage": usage_path(coded.counts) if coded is not None and coded.counts is not None else None,
        "used": float((coded.counts > 0).mean()) if coded is not None and coded.counts is not None else None,
        "images": row_thumbnails([*suite.generators(runs, one_line(row.label)), *runs]),
    }


def _fact(suite: SuiteView, runs: Sequence[RunView], name: str) -> float | None:
    """Return the mean over seeds of a quantity; codes are those of the first stage."""
    if name in ("entropy", "milliseconds"):
        values = [getattr(suite.tokenizer(run) if name == "entropy" else run, name) for run in runs]
    else:
        values = [getattr(run.budget, name) for run in runs if run.record]
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    return statistics.mean(known) if known else None


def _cell(suite: SuiteView, table: Table, column: Column, cell: Cell) -> dict[str, Any]:
    low, high, basis = _interval(suite, table, column, cell)
    return {
        "mean": _finite(cell.mean),
        "shown": cell.text or cell.shown(column),
        "spread": cell.spread(column),
        "low": low,
        "high": high,
        "basis": basis,
        "images": cell.images,
        "seeds": list(cell.seeds),
        "values": [_finite(value) if math.isfinite(value) else str(value) for value in cell.values],
        "status": cell.status,
        "reason": cell.reason,
        "unranked": cell.unranked,
        "significant": cell.significant,
        "paper": cell.paper,
        "difference": cell.shown_difference(column),
        "verdict": cell.verdict.outcome.value if cell.verdict else None,
        "why": cell.verdict.reason if cell.verdict else "",
        "notes": [one_line(note) for note in (*cell.footnotes, *cell.paper_footnotes, cell.not_comparable) if note],
        "runs": {str(seed): key for seed, key in cell.runs.items()},
    }


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None


def _interval(suite: SuiteView, table: Table, column: Column, cell: Cell) -> tuple[float | None, float | None, str]:
    """Return the 95 % interval of a mean and what it covers.

    It covers seeds or, with one seed, the images of one trained model.
    """
    if len(cell.values) > 1 and all(map(math.isfinite, cell.values)):
        return *statistics.t_interval(cell.values), f"over {len(cell.values)} seeds"
    if len(cell.values) != 1 or len(cell.runs) != 1:
        return None, None, ""
    values = suite.images(next(iter(cell.runs.values())), f"{table.protocol}/{column.key}")
    if values is None or len(values) < 2 or not np.isfinite(values).all():
        return None, None, ""
    values = values.astype(np.float64)
    if not math.isclose(values.mean(), cell.values[0], rel_tol=1e-3):
        return None, None, ""  # the metric is no mean over images
    low, high = statistics.t_interval(values.tolist())
    return low, high, f"over {len(values):,} images, one trained model"


def runs_of(suite: SuiteView, room: int) -> dict[str, dict[str, Any]]:
    """Return the training curves and the values per image of every run.

    ``room``: bytes that the values of all runs may take together; beyond, every n-th image has values.
    """
    done = [run for run in suite.runs if run.record]
    arrays = {run.key: suite.stored.images(run.stored) for run in done}
    total = sum(array.size for values in arrays.values() for array in values.values())
    step = max(1, math.ceil(4 * total * 4 / 3 / room))  # float32 in base64; every step-th image
    return {
        run.key: {
            "label": run.label,
            "seed": run.run.seed,
            "dataset": run.dataset,
            "history": run.history,
            "step": step,
            "values": {name: _encoded(array[::step]) for name, array in arrays[run.key].items()},
        }
        for run in done
    }


def _encoded(values: NDArray[np.float32]) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()
