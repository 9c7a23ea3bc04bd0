"""Fill the cells of a table from the records, or say why a value is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vqbench.planning.plan import PlannedRun
from vqbench.reporting.paper.conditions import rounding_note
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.tables.table import Cell, Column
from vqbench.reporting.tables.training_facts import total
from vqbench.spec import RunSpec
from vqbench.store.record import Value
from vqbench.store.results import ResultStore

SECONDS = Column("seconds", "Seconds", digits=1)  # of training; never ranked, since machines differ
SELECTION = Column(
    "selection_error", "Selection error", better="min", digits=5, unranked="it chooses weights, and judges none"
)
SELECTION_NOTE = "Selection error: mean squared error of the images that select the epoch, pixels from -1 to 1."
SETTINGS = {"latent": Column("latent", "S"), "codes": Column("codes", "K")}  # of the plan, not measured
SIZES = {  # of a model, from its record
    "parameters": Column("parameters", "Parameters", digits=0),
    "state": Column("state", "Learned state", digits=0),
}
SPEEDS = {  # of a model, in its evaluation; never ranked, as seconds
    "encode_speed": Column("encode_speed", "Encode", "images/s", digits=1),
    "decode_speed": Column("decode_speed", "Decode", "images/s", digits=1),
}
EXTRA = {SECONDS.key: SECONDS, SELECTION.key: SELECTION, **SETTINGS, **SIZES, **SPEEDS}  # columns that are no metrics


class CellReader:
    """Reads the cells of one measuring protocol."""

    def __init__(self, stored: StoredRuns, protocol: str) -> None:
        self.plan, self.stored, self.protocol = stored.plan, stored, protocol

    def cell(self, entries: Sequence[PlannedRun], column: Column) -> Cell:
        """Return one metric of one row: a value per seed, or why none exists.

        ``entries`` are the row's runs, which differ by seed.
        """
        if column.key in SETTINGS:
            return Cell(status="none", text=_common(getattr(entry, column.key) for entry in entries))
        values, missing, measured = [], [], []
        silent = False
        for entry in entries:
            value = self._value(entry, column)
            if isinstance(value, str):
                missing.append(value)
            elif value is None:
                silent = True
            else:
                values.append(value)
                measured.append(entry)
        runs = {entry.seed: self.stored[entry.run].run.key for entry in entries}
        if values:
            lacking = [f"{len(values)} of {len(entries)} seeds"] if len(values) < len(entries) else []
            return Cell(
                values,
                seeds=[entry.seed for entry in measured],
                footnotes=[*lacking, *self._rounding(measured), *self._infinite(measured, values, column)],
                runs=runs,
                origins={entry.seed: self.stored.origins(entry) for entry in measured},
                images=self._images(measured, column),
                sources=list(dict.fromkeys(store.name for each in measured if (store := self._store(each)))),
            )
        if silent or not entries:
            return Cell(status="none", runs=runs)
        reasons = [reason for reason in missing if reason]
        return Cell(status="failed", reason=reasons[0], runs=runs) if reasons else Cell(status="missing", runs=runs)

    def _store(self, entry: PlannedRun) -> ResultStore | None:
        return self.stored[entry.run].store

    def _images(self, entries: Sequence[PlannedRun], column: Column) -> int | None:
        """Return on how many images a value was measured; with several seeds, the fewest."""
        counts = [value.images for entry in entries if (value := self._measured(entry, column))]
        return min(counts) if counts else None

    def _rounding(self, entries: Sequence[PlannedRun]) -> list[str]:
        """Return the footnotes on entries in another precision than the paper's."""
        seeds: dict[str, list[int]] = {}
        for entry in entries:
            if precision := self.stored[entry.run].precision:
                seeds.setdefault(precision, []).append(entry.seed)
        some = any(len(each) < len(entries) for each in seeds.values())
        return [
            (f"seed {', '.join(map(str, each))}: " if some else "") + rounding_note(precision)
            for precision, each in seeds.items()
        ]

    def _infinite(self, entries: Sequence[PlannedRun], values: Sequence[float], column: Column) -> list[str]:
        """Explain an infinite mean by its images, with the mean of the finite ones."""
        at = [entry for entry, value in zip(entries, values, strict=True) if math.isinf(value)]
        if not at or column.key not in self.plan.metrics:
            return []
        name = f"{self.protocol}/{column.key}"
        arrays = [self.stored.images(self.stored[entry.run]).get(name) for entry in at]
        known = [each for each in arrays if each is not None]
        perfect = sum(int(np.isinf(each).sum()) for each in known)
        if not perfect:
            return ["infinite: at least one image is perfect"]
        count = sum(each.size for each in known)
        others = np.concatenate([each[np.isfinite(each)] for each in known]).astype(np.float64)
        mean = f"; mean of the others {column.shown(float(others.mean()))}" if others.size else ""
        return [f"infinite: {perfect:,} of {count:,} images are perfect{mean}"]

    def _value(self, entry: PlannedRun, column: Column) -> float | str | None:
        """Return a number, or why it is missing.

        None where the metric is undefined; "" or a reason where it was not measured.
        """
        if column.key == SECONDS.key or column.key in SIZES:
            return self._of_training(entry, column.key)
        if column.key in SPEEDS:
            return self._speed(entry, column.key)
        if column.key == SELECTION.key:
            return self._selection_error(entry)
        run = self._run(entry, column)
        if self.stored[run].record is None:
            return self._why_missing(entry, run)
        measured = self._measured(entry, column)
        return "" if measured is None else measured.value

    def _run(self, entry: PlannedRun, column: Column) -> RunSpec:
        """Return the stage of ``entry`` that a metric measures."""
        return entry.second if entry.second and self.plan.metrics[column.key].of_samples else entry.run

    def _measured(self, entry: PlannedRun, column: Column) -> Value | None:
        """Return the stored value of a metric, if it is the version that the table wants."""
        if column.key not in self.plan.metrics:
            return None
        run = self._run(entry, column)
        record = self.stored[run].record
        name = self.plan.under(self.protocol, self.plan.metrics[column.key].of_samples)
        measured = record.values.get(name, {}).get(column.key) if record else None
        wanted = self.plan.wanted(run)[name].get(column.key)
        if measured is None or (measured.metric_version, measured.protocol_version) != wanted:
            return None
        return measured

    def _of_training(self, entry: PlannedRun, quantity: str) -> float | str | None:
        """Sum a ``quantity`` of the training over all stages; None where one lacks it."""
        values = []
        for run in entry.stages():
            record = self.stored[run].record
            if record is None:
                return self._why_missing(entry, run)
            values.append(record.made.get(quantity))
        summed: float | None = total(values)
        return summed

    def _speed(self, entry: PlannedRun, name: str) -> float | str | None:
        """Return images per second, of the last evaluation that was timed.

        None if none was.
        """
        record = self.stored[entry.run].record
        if record is None:
            return self._why_missing(entry, entry.run)
        timed = [each[name] for each in record.made.get("measured", []) if name in each]
        return timed[-1] if timed else None

    def _selection_error(self, entry: PlannedRun) -> float | str | None:
        """Return the selection error of the epoch that was kept; None if none has one."""
        record = self.stored[entry.run].record
        if record is None:
            return self._why_missing(entry, entry.run)
        errors = [epoch.get(SELECTION.key) for epoch in record.history]
        return min((error for error in errors if error is not None and math.isfinite(error)), default=None)

    def _why_missing(self, entry: PlannedRun, run: RunSpec) -> str:
        """Say why a run, or the one that it builds on, failed; "" where neither did."""
        if failure := self.stored[run].failure:
            return failure.reason
        first = self.stored[entry.run].failure
        return f"its first stage failed: {first.reason}" if first else ""


def _common(values: Any) -> str:
    """Return the setting that all entries of one cell share, or ""."""
    distinct = set(values)
    return str(distinct.pop()) if len(distinct) == 1 and None not in distinct else ""
