"""Tables of BD-rates: what each row of a suite costs at equal quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vqbench.errors import UsageError, nearest
from vqbench.planning.plan import MetricInfo, Plan, PlannedRun
from vqbench.reporting.derived.bd_rate import FEWEST, BDRate, NoOverlap, RateCurve, bd_rate, front
from vqbench.reporting.tables.basis import Basis
from vqbench.reporting.tables.captions import caption
from vqbench.reporting.tables.cells import CellReader
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.tables.table import Cell, Column, Row, RowBlock, Table
from vqbench.store.results import ResultStore
from vqbench.system.provenance import Origin

MACHINES = "the runs were trained on several machines, and there is one seed"


def bd_tables(plan: Plan, stores: Sequence[ResultStore], rate: str, reference: str | None = None) -> list[Table]:
    """Return one table of BD-rates per measuring protocol of a suite.

    A row is a method; its curve has one point for each value of the argument that the suite's table groups by, and
    each seed has a curve of its own. A column is a metric of images; its values are percent of ``rate``.

    Args:
        plan: of a suite whose table groups by an argument, such as ``num_codes``.
        stores: the first that has a run counts.
        rate: a metric of the suite that is a rate, such as ``entropy``.
        reference: the label of the row that others are compared with; the first one by default.

    Raises:
        UsageError: The suite has no such rate, row, or argument.
    """
    stored = StoredRuns(plan, stores)
    return [_BDTable(stored, name, rate, reference).table() for name in plan.protocols()]


@dataclass(frozen=True)
class _Point:
    """One run: its rate, in bits, and its value of one metric."""

    seed: int
    rate: float
    value: float


class _BDTable:
    """Builds the table of one measuring protocol."""

    def __init__(self, stored: StoredRuns, protocol: str, rate: str, reference: str | None) -> None:
        self.plan, self.stored, self.protocol = stored.plan, stored, protocol
        self.reader, self.basis = CellReader(stored, protocol), Basis(stored.plan, protocol)
        self.rate, self.axis = self._rate(rate), self._axis()
        self.labels = list(dict.fromkeys(each.label for each in self.plan.entries if not each.upper_bound))
        self.reference = self._reference(reference)
        machines: set[tuple[Origin, ...]] = {stored.origins(each) for each in self.plan.entries} - {()}
        self.mixed = MACHINES if len(machines) > 1 and len(self.plan.suite.seeds) == 1 else ""
        infos = self.plan.metrics
        chosen = [name for name in self.plan.suite.table.columns or [*self.plan.suite.metrics] if name in infos]
        self.metrics = {name: infos[name] for name in chosen if not (infos[name].rate or infos[name].of_codes)}

    def _rate(self, name: str) -> Column:
        rates = [each for each, info in self.plan.metrics.items() if info.rate]
        if name not in rates:
            raise UsageError(f"{name!r} is no rate among this suite's metrics; {nearest(name, rates)}")
        return _column(name, self.plan.metrics[name])

    def _axis(self) -> str:
        axes = [name for name in self.plan.suite.table.grouped_by if name not in ("dataset", "updates")]
        if len(axes) != 1:
            raise UsageError(
                "a BD-rate compares curves, and this suite's rows are points: give it several values of an argument "
                "and group its table by that alone, such as --set table.group=num_codes"
            )
        return axes[0]

    def _reference(self, label: str | None) -> str:
        if label is not None and label not in self.labels:
            raise UsageError(f"{label!r} is no row of this suite; {nearest(label, self.labels)}")
        return self.labels[0] if label is None else label

    def table(self) -> Table:
        """Return the table, a block for each data set."""
        lines = caption(self.stored, self.protocol)
        several = len(self.plan.datasets) > 1
        blocks = [
            RowBlock(info.title if several else "", self._rows(name), name) for name, info in self.plan.datasets.items()
        ]
        return Table(
            title=f"{self.plan.suite.heading}: BD-rate against {self.reference}",
            columns=[self._shown(name, info) for name, info in self.metrics.items()],
            blocks=blocks,
            caption=[*self._about(), *(line for line in lines if line != self.plan.suite.about)],
            key=self.plan.suite.name,
            protocol=self.protocol,
            basis=self.basis.line(),
            footnotes=[
                *self.basis.too_few(list(self.metrics)),
                *([f"No row is ranked: {self.mixed}."] if self.mixed else []),
            ],
        )

    def _about(self) -> list[str]:
        found = dict.fromkeys(each.run.quantizer.args.get(self.axis) for each in self.plan.entries)
        values = [str(value) for value in found if value is not None]
        return [
            f"Mean difference in bits ({self.rate.label}) from {self.reference} at equal values of a metric; below 0, "
            "fewer bits.",
            f"Curves over {self.axis} = {', '.join(values)}, one per seed: log2 of the bits over the metric, piecewise "
            "cubic Hermite, where both curves exist. A run that another of its row beats in both is left out.",
        ]

    def _shown(self, name: str, info: MetricInfo) -> Column:
        """Return the column of a metric, in percent of the rate."""
        unranked = self.basis.unranked(info) or self.mixed
        return Column(f"{name}_bd_rate", info.label, "%", "min", 1, unranked)

    def _rows(self, dataset: str) -> list[Row]:
        entries = {
            label: [each for each in self.plan.entries if each.label == label and each.dataset == dataset]
            for label in self.labels
        }
        curves = {name: {label: self._curves(each, name) for label, each in entries.items()} for name in self.metrics}
        return [self._row(label, entries, curves) for label in self.labels]

    def _row(
        self,
        label: str,
        entries: Mapping[str, Sequence[PlannedRun]],
        curves: Mapping[str, Mapping[str, Mapping[int, RateCurve]]],
    ) -> Row:
        """Return one row, with one note on what its values rest on."""
        cells, overlaps, obstacles = [], [], dict[str, list[str]]()
        for name, of in curves.items():
            found, obstacle = self._compared(of[self.reference], of[label])
            info = self.plan.metrics[name]
            if found:
                cells.append(Cell([each.percent for each in found.values()], seeds=list(found)))
                overlaps += [_overlap(info, list(found.values()))] if label != self.reference else []
            elif obstacle:
                cells.append(Cell(status="none"))
                obstacles.setdefault(obstacle, []).append(info.label)
            else:
                cells.append(self._missing(entries[label], name))
        reasons = [f"{', '.join(names)}: {reason}" for reason, names in obstacles.items()]
        note = "; ".join([*self._incomplete(entries[label]), *overlaps, *reasons])
        return Row(label, cells, footnotes=[note] if note else [])

    def _incomplete(self, entries: Sequence[PlannedRun]) -> list[str]:
        """Return a note on runs of a row that have no rate; empty if all have one."""
        done = sum(bool(self.reader.cell([entry], self.rate).values) for entry in entries)
        return [f"{done} of {len(entries)} runs"] if 0 < done < len(entries) else []

    def _points(self, entries: Sequence[PlannedRun], name: str) -> list[_Point]:
        """Return the runs that have both a rate and a value of the metric ``name``."""
        column, points = _column(name, self.plan.metrics[name]), []
        for entry in entries:
            rate, value = (self.reader.cell([entry], each).values for each in (self.rate, column))
            if rate and value and np.isfinite([rate[0], value[0]]).all():
                points.append(_Point(entry.seed, rate[0], value[0]))
        return points

    def _curves(self, entries: Sequence[PlannedRun], name: str) -> dict[int, RateCurve]:
        """Return the curve of each seed with two runs or more."""
        sign = _sign(self.plan.metrics[name])
        points = self._points(entries, name)
        seeds = {seed: [each for each in points if each.seed == seed] for seed in self.plan.suite.seeds}
        return {
            seed: front([each.rate for each in own], [sign * each.value for each in own])
            for seed, own in seeds.items()
            if len(own) >= FEWEST
        }

    def _compared(
        self, reference: Mapping[int, RateCurve], own: Mapping[int, RateCurve]
    ) -> tuple[dict[int, BDRate], str]:
        """Return the BD-rate of each seed that has one; without any, why.

        The reason is "" if the row has no curve yet.
        """
        found, why = {}, "" if reference or not own else f"{self.reference} has no curve yet"
        for seed in [seed for seed in own if seed in reference]:
            pair = reference[seed], own[seed]
            short = [
                name for name, each in zip((self.reference, "this row"), pair, strict=True) if len(each.rates) < FEWEST
            ]
            try:
                found[seed] = bd_rate(*pair)
            except NoOverlap:
                why = "no value that both curves reach"
            except UsageError:
                why = f"no curve, since one run of {short[0]} beats its others"
        return found, why

    def _missing(self, entries: Sequence[PlannedRun], name: str) -> Cell:
        """Return the cell of a row without two runs of one seed: failed, or not run."""
        cells = [self.reader.cell([entry], _column(name, self.plan.metrics[name])) for entry in entries]
        return next((cell for cell in cells if cell.status == "failed"), Cell(status="missing"))


def _column(name: str, info: MetricInfo) -> Column:
    return Column(name, info.label, info.unit, digits=info.digits)


def _sign(info: MetricInfo) -> int:
    """Return what a metric is multiplied by to be a quality, the higher the better."""
    return 1 if info.better == "max" else -1


def _overlap(info: MetricInfo, found: Sequence[BDRate]) -> str:
    """Describe the values that two curves share; with several seeds, the fewest."""
    least = min(found, key=lambda each: each.share)
    ends = sorted(_sign(info) * each for each in (least.low, least.high))
    overlap = f"{info.label} {ends[0]:.{info.digits}f} to {ends[1]:.{info.digits}f} ({100 * least.share:.0f} %)"
    return overlap + (f", {least.left_out} left out" if least.left_out else "")
