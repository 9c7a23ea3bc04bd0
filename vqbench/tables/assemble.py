"""From records to tables: what was measured of a suite's runs, in the places its table has for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from vqbench import paper as paper_values
from vqbench import protocol
from vqbench.dataset import Split
from vqbench.planning.plan import Entry, Plan
from vqbench.planning.suiteparts import Codebook, Plugin
from vqbench.spec import RunSpec
from vqbench.store import Failure, Record, ResultStore
from vqbench.tables.comparison import against_paper
from vqbench.tables.order import order_lines
from vqbench.tables.table import Block, Cell, Column, Group, Row, Table

SECONDS = Column("seconds", "Seconds", digits=1)  # of training; no contest, since machines differ
SETTINGS = {"latent": Column("latent", "S"), "codes": Column("codes", "K")}  # told of a row, not measured


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
    made = [_Builder(plan, found, name).table() for name in plan.protocols()]
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
    if suite.backbone != Plugin.model_validate("conv") or suite.codebook != Codebook():
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
        return f"other pictures than the paper's: {lacking[0].removesuffix('.')}"
    sizes = {entry.run.dataset.args.get("size") for entry in plan.entries}
    return "" if sizes == {256} else f"pictures of {', '.join(map(str, sizes))} pixels, not 256"


def find(run: RunSpec, stores: Sequence[ResultStore]) -> Found:
    """What the first of ``stores`` that has a record of ``run`` holds; without one, why the run failed, if it did."""
    failure = None
    for store in stores:
        record = store.read(run)
        if record is not None:
            return Found(record, None, store)
        failure = failure or store.failure(run)
    return Found(None, failure, None)


class _Builder:
    """Builds the table of one measuring protocol."""

    def __init__(self, plan: Plan, found: dict[str, Found], protocol: str) -> None:
        self.plan, self.found, self.protocol = plan, found, protocol
        chosen = plan.suite.table.columns or [*plan.suite.metrics]
        self.columns = [self._column(name) for name in chosen]

    def _column(self, name: str) -> Column:
        if name == SECONDS.key:
            return SECONDS
        if name in SETTINGS:
            return SETTINGS[name]
        info = self.plan.metrics[name]
        ranked = self._pictures(info.of_samples)[0] >= info.few
        return Column(name, info.label, info.unit, info.better, info.digits, ranked)  # type: ignore[arg-type]

    def _pictures(self, of_samples: bool) -> tuple[int, str]:
        """How many pictures a value of this table is measured on, of the smallest data set, and what they are.

        They are test pictures or, of a number of samples, the fewer of these and of what they are held against.
        """
        tested, sampling = protocol.images_of(self.protocol), self.plan.sampling
        if not of_samples or sampling is None:
            return self._fewest("test", tested), "test pictures"
        limits = sampling.references, tested if sampling.reference == "test" else None
        references = self._fewest(sampling.reference, *limits)
        return (sampling.count, "samples") if sampling.count <= references else (references, "references")

    def _fewest(self, split: Split, *limits: int | None) -> int:
        """How many pictures of ``split`` are used, no more than the ``limits``, where the data set has fewest."""
        sizes = [getattr(info, split) for info in self.plan.datasets.values()]
        return min([*sizes, *(limit for limit in limits if limit is not None)])

    def table(self) -> Table:
        suite = self.plan.suite
        by_dataset = suite.table.group == "dataset"
        side_by_side = suite.table.layout == "side_by_side"
        across = self._distinct("group") if side_by_side else [None]
        field = "dataset" if side_by_side or by_dataset else "group"  # what the blocks stand for
        down = [None] if side_by_side and by_dataset else self._distinct(field)
        blocks = [self._block(key, across, field) for key in down]
        return Table(
            title=(suite.title or suite.name) + (" (REDUCED)" if suite.reduced or suite.test_images else ""),
            columns=self.columns,
            blocks=[block for block in blocks if block.rows],
            caption=self._caption(),
            groups=[self._column_group(key) for key in across if key is not None],
            group_by="dataset" if by_dataset else "setting",
            key=suite.name,
            protocol=self.protocol,
            footnotes=[*self._about_pictures(), *(note for data in self.plan.datasets.values() for note in data.notes)],
        )

    def _about_pictures(self) -> list[str]:
        """Which columns rank nothing, since the pictures that they are measured on are too few."""
        infos = [self.plan.metrics[column.key] for column in self.columns if not column.ranked]
        lines = []
        for of_samples in (False, True):
            few = [f"{info.label} (below {info.few:,})" for info in infos if info.of_samples == of_samples]
            if few:
                count, what = self._pictures(of_samples)
                says = f"{' and '.join(few)} {'rank' if len(few) > 1 else 'ranks'} nothing"
                lines.append(f"{count:,} {what} are so few that {says}.")
        return lines

    def _distinct(self, field: str) -> list[Any]:
        return list(dict.fromkeys(getattr(entry, field) for entry in self.plan.entries))

    def _setting(self, group: Any) -> str:
        """A group's name in the printed table where its rows have one, else the value of the argument."""
        settings = {entry.paper_setting for entry in self.plan.entries if entry.group == group}
        only = settings.pop() if len(settings) == 1 else None
        return only or f"{self.plan.suite.table.group} = {group}"

    def _group_label(self, group: Any) -> str:
        return self.plan.datasets[group].title if self.plan.suite.table.group == "dataset" else self._setting(group)

    def _column_group(self, group: Any) -> Group:
        return Group(self._group_label(group), group if group in self.plan.datasets else self._setting(group))

    def _block(self, key: Any, across: Sequence[Any], field: str) -> Block:
        here = [entry for entry in self.plan.entries if key is None or getattr(entry, field) == key]
        rows = []
        for label in dict.fromkeys(entry.label for entry in here):
            entries = [entry for entry in here if entry.label == label]
            cells = [
                self._cell([entry for entry in entries if group is None or entry.group == group], column)
                for group in across
                for column in self.columns
            ]
            first = entries[0]
            rows.append(Row(label, cells, ceiling=first.ceiling, paper=first.paper_row or ""))
        if key is None:
            return Block("", rows)
        label = self.plan.datasets[key].title if field == "dataset" else self._setting(key)
        return Block(label, rows, str(key))

    def _cell(self, entries: Sequence[Entry], column: Column) -> Cell:
        """One metric of one row: a value a seed, or the reason why there is none."""
        if column.key in SETTINGS:
            return Cell(status="none", text=_told({getattr(entry, column.key) for entry in entries}))
        values, seeds, notes = [], [], []
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
        runs = {entry.seed: entry.run.key for entry in entries}
        if values:
            lacking = [f"{len(values)} of {len(entries)} seeds"] if notes else []
            return Cell(values, seeds=seeds, footnotes=lacking, runs=runs)
        if silent or not entries:
            return Cell(status="none", runs=runs)
        failed = [note for note in notes if note]
        return Cell(status="failed", reason=failed[0], runs=runs) if failed else Cell(status="missing", runs=runs)

    def _value(self, entry: Entry, column: Column) -> float | str | None:
        """A number; None where the metric says nothing about the run; "" or a reason where it was not measured."""
        if column.key == SECONDS.key:
            return self._seconds(entry)
        of_samples = self.plan.metrics[column.key].of_samples
        run = entry.second if entry.second and of_samples else entry.run
        found = self.found[run.key]
        if found.record is None:
            return self._why_missing(entry, run)
        name = self.plan.under(self.protocol, of_samples)
        measured = found.record.values.get(name, {}).get(column.key)
        wanted = self.plan.wanted(run)[name].get(column.key)
        if measured is None or (measured.metric_version, measured.protocol_version) != wanted:
            return ""
        return measured.value

    def _training(self) -> str:
        """How the rows were trained; where they differ, which ones how."""
        suite = self.plan.suite
        rows: dict[str, list[str]] = {}
        for entry, source in zip(self.plan.entries, self._sources(), strict=True):
            how = f"{(suite.quantizers[source].train or suite.train).name} ({self.plan.length(entry.run).about})"
            if entry.label not in rows.setdefault(how, []):
                rows[how].append(entry.label)
        if len(rows) == 1:
            return next(iter(rows))
        return "; ".join(f"{how}: {', '.join(labels)}" for how, labels in rows.items())

    def _sources(self) -> list[int]:
        """Of each entry, the position of its row in the suite as written."""
        sources = [row.source for row in self.plan.suite.rows()]
        return [sources[entry.row] for entry in self.plan.entries]

    def _seconds(self, entry: Entry) -> float | str:
        """What the training of all stages took."""
        total = 0.0
        for run in entry.stages():
            record = self.found[run.key].record
            if record is None:
                return self._why_missing(entry, run)
            total += record.made["seconds"]
        return total

    def _why_missing(self, entry: Entry, run: RunSpec) -> str:
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
        if suite.description:
            lines.append(" ".join(suite.description.split()))
        if suite.reduced or suite.test_images:
            less = [f"{name} {value}" for name, value in suite.reduced.items()]
            less += [f"the first {suite.test_images} test pictures"] if suite.test_images else []
            lines.append(f"Reduced: {', '.join(less)}. These numbers stand in for no full run's.")
        lines.append(
            f"Trained under {self._training()}, measured under {self.protocol}, {_count(len(suite.seeds), 'seed')}."
        )
        if second := self.plan.entries[0].second:
            lines.append(
                f"On each, a second stage {second.recipe.name} ({self.plan.length(second).about}); "
                f"{self.plan.sampling}; seconds are those of training both."
            )
        if runs:
            sources = [store for found in runs if (store := found.store)]
            by_store = [f"{sources.count(store)} from {store.root.name}/" for store in dict.fromkeys(sources)]
            made = [found.record.made for found in runs if found.record]
            devices = dict.fromkeys(f"{each['device']} ({each['threads']} threads)" for each in made)
            versions = dict.fromkeys(each["versions"]["torch"] for each in made)
            lines.append(
                f"{_count(len(runs), 'record')} of {len(self.found)} ({', '.join(by_store)}); "
                f"{' and '.join(devices)}; torch {' and '.join(versions)}."
            )
        return lines


def _told(values: set[Any]) -> str:
    """A setting of the entries of one cell; nothing where they have none, or not the same."""
    return str(values.pop()) if len(values) == 1 and None not in values else ""


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def data(table: Table) -> dict[str, Any]:
    """A table as plain data: every cell with its values at full precision."""
    return {
        "title": table.title,
        "protocol": table.protocol,
        "footnotes": list(table.footnotes),
        "cells": [
            {
                "dataset": place.dataset,
                "setting": place.setting,
                "row": place.row.label,
                "metric": place.column.key,
                "values": list(place.cell.values),
                "seeds": list(place.cell.seeds),
                "status": place.cell.status,
                "reason": place.cell.reason,
                "paper": place.cell.paper,
                "verdict": place.cell.verdict and place.cell.verdict.outcome,
            }
            for place in table.places()
        ],
    }
