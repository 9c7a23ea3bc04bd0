"""From records to tables: what was measured of a suite's runs, in the places its table has for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vqbench.errors import counted
from vqbench.planning.plan import Plan, PlannedRun
from vqbench.planning.suite import DEFAULT_BACKBONE, Codebook
from vqbench.reporting import paper as paper_values
from vqbench.reporting.tables import budget as budgets
from vqbench.reporting.tables.basis import Basis
from vqbench.reporting.tables.comparison import against_paper
from vqbench.reporting.tables.marks import TrainingFacts, about_marks, mark
from vqbench.reporting.tables.order import order_lines
from vqbench.reporting.tables.table import MARKS, Block, Cell, Column, ColumnGroup, Row, Table
from vqbench.spec import RunSpec
from vqbench.store.record import Failure, Record, Value
from vqbench.store.results import ResultStore
from vqbench.system.machine import Origin, origins_of

SECONDS = Column("seconds", "Seconds", digits=1)  # of training; no contest, since machines differ
SETTINGS = {"latent": Column("latent", "S"), "codes": Column("codes", "K")}  # told of a row, not measured
SIZES = {  # of a model, from its record
    "parameters": Column("parameters", "Parameters", digits=0),
    "state": Column("state", "Learned state", digits=0),
}

LARGE = "B.2"  # the paper's table of whole systems on photographs


@dataclass(frozen=True)
class Found:
    """What the stores know of one run."""

    record: Record | None
    failure: Failure | None
    store: ResultStore | None  # where the record was


def tables(plan: Plan, stores: Sequence[ResultStore], paper: bool = False) -> list[Table]:
    """One table for each measuring protocol of the suite; with ``paper``, printed values and verdicts beside ours.

    Records are looked for in ``stores``, in order. Failed, unfinished and missing runs stay visible in their cells.
    """
    found = {run.key: find(run, stores) for run in plan.runs()}
    made = [_Builder(plan, found, name, stores).table() for name in plan.protocols()]
    if not (paper and plan.suite.paper):
        return made
    return [_held_against(plan.suite.paper, table, plan, stores) for table in made]


def _held_against(number: str, table: Table, plan: Plan, stores: Sequence[ResultStore]) -> Table:
    """``table`` with the paper's values and verdicts in its cells, and below it whether the printed order holds."""
    reason = _why_not(plan, table.protocol)
    judged = against_paper(table, number, reason)
    order = order_lines(plan, stores, table.protocol, reason)
    quoted = [line for dataset in plan.datasets for line in paper_values.elsewhere(number, dataset)]
    return replace(judged, footnotes=[*judged.footnotes, *order, *quoted])


def _why_not(plan: Plan, protocol: str) -> str:
    """Why none of a table's values is the printed quantity, if so."""
    suite = plan.suite
    if suite.reduced:
        return "reduced training"
    if suite.paper == LARGE:
        return _why_not_large(plan, protocol)
    if suite.train.name != "official" or suite.train.args:
        other = f" with other {', '.join(suite.train.args)}" if suite.train.args else ""
        return f"trained under {suite.train.name}{other}, printed under what corresponds to official"
    if any(row.train or row.backbone or row.codebook for row in suite.quantizers):
        return "a row has a training, backbone or codebook of its own"
    if suite.backbone != DEFAULT_BACKBONE or suite.codebook != Codebook():
        return "another backbone or codebook than the paper's"
    if protocol != "official":
        return f"measured under {protocol}, printed under what corresponds to official"
    return ""


def _why_not_large(plan: Plan, protocol: str) -> str:
    """Likewise for the table of photographs, of which the paper says neither how SSIM nor LPIPS was computed."""
    if protocol != "clean":
        return f"measured under {protocol}; nothing says that the printed values were"
    lacking = [note for info in plan.datasets.values() for note in info.notes]
    if lacking:
        return f"other images than the paper's: {lacking[0].removesuffix('.')}"
    sizes = {entry.run.dataset.args.get("size") for entry in plan.entries}
    return "" if sizes == {256} else f"images of {', '.join(map(str, sizes))} pixels, not 256"


def find(run: RunSpec, stores: Sequence[ResultStore]) -> Found:
    """What the first of ``stores`` that has a record of ``run`` holds; without one, why the run failed, if it did."""
    failure = None
    for store in stores:
        record = store.sound(run)
        if record is not None:
            return Found(record, None, store)
        failure = failure or store.obstacle(run)
    return Found(None, failure, None)


class _Builder:
    """Builds the table of one measuring protocol."""

    def __init__(self, plan: Plan, found: dict[str, Found], protocol: str, stores: Sequence[ResultStore]) -> None:
        self.plan, self.found, self.protocol, self.stores = plan, found, protocol, stores
        self.basis = Basis(plan, protocol)
        chosen = plan.suite.table.columns or [*plan.suite.metrics]
        self.columns = [self._column(name) for name in chosen]

    def _column(self, name: str) -> Column:
        if name == SECONDS.key:
            return SECONDS
        if name in SETTINGS or name in SIZES:
            return (SETTINGS | SIZES)[name]
        info = self.plan.metrics[name]
        ranked = self.basis.ranks(info) and name != budgets.BITS  # which is no result
        better: Any = info.better
        return Column(name, info.label, info.unit, better, info.digits, ranked, info.by_codebook)

    def table(self) -> Table:
        suite = self.plan.suite
        by_dataset = suite.table.group == "dataset"
        side_by_side = suite.table.layout == "side_by_side"
        across = self._distinct("group") if side_by_side else [None]
        field = "dataset" if side_by_side or by_dataset else "group"  # what the blocks stand for
        down = [None] if side_by_side and by_dataset else self._distinct(field)
        marked = [self._block(key, across, field) for key in down]
        blocks = [block for block, _ in marked if block.rows]
        return Table(
            title=suite.heading,
            columns=self.columns,
            blocks=blocks,
            caption=self._caption(),
            groups=[self._column_group(key) for key in across if key is not None],
            group_by="dataset" if by_dataset else "setting",
            key=suite.name,
            protocol=self.protocol,
            basis=self.basis.said(),
            footnotes=[
                *self.basis.too_few([column.key for column in self.columns]),
                *(note for data in self.plan.datasets.values() for note in data.notes),
                *about_marks([(block.label, said) for block, said in marked], self.columns),
            ],
        )

    def _distinct(self, field: str) -> list[Any]:
        return list(dict.fromkeys(getattr(entry, field) for entry in self.plan.entries))

    def _setting(self, group: Any) -> str:
        """A group's name in the printed table where its rows have one, else the value of the argument."""
        settings = {entry.paper_setting for entry in self.plan.entries if entry.group == group}
        only = settings.pop() if len(settings) == 1 else None
        return only or f"{self.plan.suite.table.group} = {group}"

    def _group_label(self, group: Any) -> str:
        return self.plan.datasets[group].title if self.plan.suite.table.group == "dataset" else self._setting(group)

    def _column_group(self, group: Any) -> ColumnGroup:
        return ColumnGroup(self._group_label(group), group if group in self.plan.datasets else self._setting(group))

    def _block(self, key: Any, across: Sequence[Any], field: str) -> tuple[Block, Mapping[str, list[str]]]:
        """The rows under one heading, marked, and what is to be said of the marks."""
        here = [entry for entry in self.plan.entries if key is None or getattr(entry, field) == key]
        rows, trained = [], []
        for label in dict.fromkeys(entry.label for entry in here):
            entries = [entry for entry in here if entry.label == label]
            groups = [[entry for entry in entries if group is None or entry.group == group] for group in across]
            cells = [self._cell(each, column) for each in groups for column in self.columns]
            trained.append([self._trained(each) for each in groups])
            first = entries[0]
            rows.append(Row(label, cells, ceiling=first.upper_bound, paper=first.paper_row or ""))
        marked = mark(rows, trained, self.columns)
        if key is None:
            return Block("", marked.rows), marked.said
        label = self.plan.datasets[key].title if field == "dataset" else self._setting(key)
        return Block(label, marked.rows, str(key)), marked.said

    def _trained(self, entries: Sequence[PlannedRun]) -> TrainingFacts:
        """How the runs of one row were trained, all stages of those that have a record."""
        whole = [entry for entry in entries if all(self.found[run.key].record for run in entry.stages())]
        return TrainingFacts(
            [self._budget(entry) for entry in whole], {each.seed: self._origins(each) for each in whole}
        )

    def _origins(self, entry: PlannedRun) -> tuple[Origin, ...]:
        records = [self.found[run.key].record for run in entry.stages()]
        return tuple(dict.fromkeys(origin for record in records if record for origin in origins_of(record.made)))

    def _budget(self, entry: PlannedRun) -> budgets.Budget:
        """Of the first stage; updates, images and learned state are those of all stages."""
        stages = []
        for run in entry.stages():
            found = self.found[run.key]
            folder = found.store.folder(run) if found.store else None
            stages.append(budgets.budget_of(self.plan, entry, run, found.record, folder))
        sums = {name: _sum(getattr(each, name) for each in stages) for name in ("updates", "images", "state")}
        return replace(stages[0], **sums)

    def _cell(self, entries: Sequence[PlannedRun], column: Column) -> Cell:
        """One metric of one row: a value a seed, or the reason why there is none."""
        if column.key in SETTINGS:
            return Cell(status="none", text=_told({getattr(entry, column.key) for entry in entries}))
        values, seeds, notes, measured = [], [], [], []
        silent = False
        for entry in entries:
            value = self._value(entry, column)
            if isinstance(value, str):
                notes.append(value)
            elif value is None:
                silent = True
            else:
                values.append(value)
                seeds.append(entry.seed)
                measured.append(entry)
        runs = {entry.seed: entry.run.key for entry in entries}
        if values:
            lacking = [f"{len(values)} of {len(entries)} seeds"] if notes else []
            return Cell(
                values,
                seeds=seeds,
                footnotes=[*lacking, *self._perfect(measured, values, column)],
                runs=runs,
                origins={entry.seed: self._origins(entry) for entry in measured},
                images=self._images(measured, column),
                sources=list(dict.fromkeys(store.root.name for each in measured if (store := self._store(each)))),
            )
        if silent or not entries:
            return Cell(status="none", runs=runs)
        failed = [note for note in notes if note]
        return Cell(status="failed", reason=failed[0], runs=runs) if failed else Cell(status="missing", runs=runs)

    def _store(self, entry: PlannedRun) -> ResultStore | None:
        return self.found[entry.run.key].store

    def _images(self, entries: Sequence[PlannedRun], column: Column) -> int | None:
        """How many images, or samples, the values rest on; of several seeds, the fewest."""
        counts = [value.images for entry in entries if (value := self._measured(entry, column))]
        return min(counts) if counts else None

    def _perfect(self, entries: Sequence[PlannedRun], values: Sequence[float], column: Column) -> list[str]:
        """Why a mean is infinite: how many images have an infinite value by themselves, and the mean of the others."""
        at = [entry for entry, value in zip(entries, values, strict=True) if math.isinf(value)]
        if not at or column.key not in self.plan.metrics:
            return []
        name = f"{self.protocol}/{column.key}"
        arrays = [store.read_images(entry.run).get(name) for entry in at if (store := self._store(entry))]
        known = [each for each in arrays if each is not None]
        perfect = sum(int(np.isinf(each).sum()) for each in known)
        if not perfect:
            return ["infinite: at least one image is perfect"]
        total = sum(each.size for each in known)
        others = np.concatenate([each[np.isfinite(each)] for each in known]).astype(np.float64)
        mean = f"; mean of the others {column.shown(float(others.mean()))}" if others.size else ""
        return [f"infinite: {perfect:,} of {total:,} images are perfect{mean}"]

    def _value(self, entry: PlannedRun, column: Column) -> float | str | None:
        """A number; None where the metric says nothing about the run; "" or a reason where it was not measured."""
        if column.key == SECONDS.key or column.key in SIZES:
            return self._made(entry, column.key)
        run = self._run(entry, column)
        if self.found[run.key].record is None:
            return self._why_missing(entry, run)
        measured = self._measured(entry, column)
        return "" if measured is None else measured.value

    def _run(self, entry: PlannedRun, column: Column) -> RunSpec:
        """The stage of ``entry`` that a metric is about."""
        return entry.second if entry.second and self.plan.metrics[column.key].of_samples else entry.run

    def _measured(self, entry: PlannedRun, column: Column) -> Value | None:
        """What is stored of a metric, if it is the version that the table wants."""
        if column.key not in self.plan.metrics:
            return None
        run = self._run(entry, column)
        record = self.found[run.key].record
        name = self.plan.under(self.protocol, self.plan.metrics[column.key].of_samples)
        measured = record.values.get(name, {}).get(column.key) if record else None
        wanted = self.plan.wanted(run)[name].get(column.key)
        if measured is None or (measured.metric_version, measured.protocol_version) != wanted:
            return None
        return measured

    def _training(self) -> str:
        """How the rows were trained; where they differ, which ones how."""
        suite = self.plan.suite
        rows: dict[str, list[str]] = {}
        for entry, source in zip(self.plan.entries, self._positions(), strict=True):
            how = f"{(suite.quantizers[source].train or suite.train).name} ({self.plan.length(entry.run).about})"
            if entry.label not in rows.setdefault(how, []):
                rows[how].append(entry.label)
        if len(rows) == 1:
            return next(iter(rows))
        return "; ".join(f"{how}: {', '.join(labels)}" for how, labels in rows.items())

    def _positions(self) -> list[int]:
        """Of each entry, the position of its row in the suite as written."""
        sources = [row.source for row in self.plan.suite.rows()]
        return [sources[entry.row] for entry in self.plan.entries]

    def _made(self, entry: PlannedRun, what: str) -> float | str | None:
        """What the records of all stages say of their training, summed; None where one does not."""
        told = []
        for run in entry.stages():
            record = self.found[run.key].record
            if record is None:
                return self._why_missing(entry, run)
            told.append(record.made.get(what))
        total: float | None = _sum(told)
        return total

    def _why_missing(self, entry: PlannedRun, run: RunSpec) -> str:
        """Why a run has failed, or the one that it builds on; empty where neither has."""
        if failure := self.found[run.key].failure:
            return failure.reason
        first = self.found[entry.run.key].failure
        return f"its first stage failed: {first.reason}" if first else ""

    def _caption(self) -> list[str]:
        """How the numbers came about, from the records themselves."""
        suite = self.plan.suite
        runs = [found for found in self.found.values() if found.record]
        lines = []
        if suite.about:
            lines.append(suite.about)
        if suite.reduced or suite.test_images:
            less = [f"{name} {value}" for name, value in suite.reduced.items()]
            less += [f"the first {suite.test_images} test images"] if suite.test_images else []
            lines.append(f"Reduced: {', '.join(less)}. These numbers stand in for no full run's.")
        if suite.left_out:
            lines.append(f"Columns left out, for want of their metric: {', '.join(suite.left_out)}.")
        lines.append(
            f"Trained under {self._training()}, measured under {self.protocol}, {counted(len(suite.seeds), 'seed')}."
        )
        if second := self.plan.entries[0].second:
            lines.append(
                f"On each, a second stage {second.recipe.name} ({self.plan.length(second).about}); "
                f"{self.plan.sampling}; seconds are those of training both."
            )
        if runs:
            made = [found.record.made for found in runs if found.record]
            machines = dict.fromkeys(str(origin) for each in made for origin in origins_of(each))
            versions = dict.fromkeys(each["versions"]["torch"] for each in made)
            lines.append(
                f"{counted(len(runs), 'record')} of {len(self.found)} ({self._sources()}); "
                f"{' and '.join(machines)}; torch {' and '.join(versions)}."
            )
        return lines

    def _sources(self) -> str:
        """How many records each store gave; of those read after the first, which rows they are of."""
        rows: dict[ResultStore, list[str]] = {}
        counts: dict[ResultStore, set[str]] = {}
        for entry in self.plan.entries:
            for run in entry.stages():
                if store := self.found[run.key].store:
                    rows.setdefault(store, []).append(entry.label)
                    counts.setdefault(store, set()).add(run.key)
        ordered = [store for store in self.stores if store in counts]
        said = [f"{len(counts[store])} from {store.root.name}/" for store in ordered]
        for number, store in enumerate(ordered[1:], 1):
            said[number] += f": {', '.join(dict.fromkeys(rows[store]))}"
        return "; ".join(said)


def _told(values: set[Any]) -> str:
    """A setting of the entries of one cell; nothing where they have none, or not the same."""
    return str(values.pop()) if len(values) == 1 and None not in values else ""


def _sum(values: Iterable[Any]) -> Any:
    """The sum; None where one is not known."""
    known = list(values)
    return None if None in known else sum(known)


def data(table: Table) -> dict[str, Any]:
    """A table as plain data: every cell with its values at full precision, infinite ones as a word."""
    return {
        "title": table.title,
        "protocol": table.protocol,
        "images": table.basis,
        "marks": dict(MARKS),
        "footnotes": list(table.footnotes),
        "cells": [
            {
                "dataset": place.dataset,
                "setting": place.setting,
                "row": place.row.label,
                "metric": place.column.key,
                "values": [value if math.isfinite(value) else str(value) for value in place.cell.values],
                "seeds": list(place.cell.seeds),
                "status": place.cell.status,
                "reason": place.cell.reason,
                "paper": place.cell.paper,
                "verdict": place.cell.verdict and place.cell.verdict.outcome,
                "rank": place.rank,
                "marks": list(place.cell.marks),
                "unranked": place.cell.unranked,
                "images": place.cell.images,
                "results": list(place.cell.sources),
                "notes": list(place.cell.footnotes),
            }
            for place in table.places()
        ],
    }
