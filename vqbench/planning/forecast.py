"""Forecast the time of a suite on any number of machines.

It is simulated from measured seconds. A run costs its number of updates times the seconds that an update of such a run
took on a device, and the seconds that measuring took there. Such a run has the same quantizer, backbone, data set,
batch and precision, arguments and all; only the length of training and the seed may differ. Times that were never
measured are listed, and count as zero.
"""

from __future__ import annotations

import heapq
import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from vqbench import registry
from vqbench.errors import counted
from vqbench.planning.cost import cheapest_first, expected_seconds, once_by_parts, updates, updates_of
from vqbench.planning.plan import Plan
from vqbench.spec import Job, RunSpec
from vqbench.store.record import lacking
from vqbench.store.record_summary import RecordSummary
from vqbench.store.results import ResultStore
from vqbench.system.durations import format_duration
from vqbench.system.output import grid

Metrics = frozenset[tuple[str, str]]  # (protocol, metric)


@dataclass
class MeasuredTimes:
    """The times of runs on one device."""

    gpu: bool = False
    update: dict[str, list[float]] = field(default_factory=dict)  # such runs -> seconds an update, by run
    measuring: dict[tuple[str, Metrics], list[float]] = field(default_factory=dict)  # -> seconds, by run

    def training(self, run: RunSpec, steps: int | None) -> float | None:
        """Seconds that ``run`` will take to train.

        None if no such run was trained here, or its updates are unknown.
        """
        rates = self.update.get(_trained_like(run, _scaling(run)))
        return None if rates is None or steps is None else statistics.median(rates) * steps

    def measured(self, run: RunSpec, metrics: Metrics) -> float | None:
        """Seconds to measure just these metrics of ``run``; None if never done here."""
        seconds = self.measuring.get((_measured_like(run), metrics))
        return None if seconds is None else statistics.median(seconds)

    def at_most(self, run: RunSpec, metrics: Metrics) -> float | None:
        """Seconds of a pass with these metrics of ``run``, and perhaps more.

        None if there was none.
        """
        like = _measured_like(run)
        passes = ((of, timed, seconds) for (of, timed), seconds in self.measuring.items() if of == like)
        return min((statistics.median(seconds) for _, timed, seconds in passes if metrics <= timed), default=None)


@dataclass(frozen=True)
class Simulated:
    """The simulated course of all runs.

    All times are in seconds.
    """

    jobs: int  # runs side by side
    makespan: float
    busy: float  # share of the devices' time in which they work
    at_least: float  # no order of the runs could take less


def simulate(seconds: Sequence[float], jobs: int, gpus: int | None = None) -> Simulated:
    """Simulate runs that are given in their order to the first free device.

    Each job has a device to itself. More jobs than ``gpus`` share those by time slices: the kernels of runs on one GPU
    take turns, so that it does the work of one after the other.

    >>> simulate([1.0, 2.0, 3.0], 2)
    Simulated(jobs=2, makespan=4.0, busy=0.75, at_least=3.0)
    >>> simulate([1.0, 2.0, 3.0], 2, gpus=1)
    Simulated(jobs=2, makespan=6.0, busy=1.0, at_least=6.0)
    """
    devices = min(jobs, gpus or jobs)
    free = [0.0] * devices
    for each in seconds:
        heapq.heapreplace(free, free[0] + each)
    total, makespan = sum(seconds), max(free)
    busy = total / (devices * makespan) if makespan else 0.0
    return Simulated(jobs, makespan, busy, max([total / devices, *seconds]))


def measured(plan: Plan, records: Iterable[RecordSummary]) -> dict[str, MeasuredTimes]:
    """Collect the times of runs like those of ``plan`` from ``records``, by device.

    Of several records of a run, the last one counts.
    """
    scaling = {run.recipe.name: _scaling(run) for run in plan.runs()}
    likes = {_trained_like(run, scaling[run.recipe.name]) for run in plan.runs()}
    devices: dict[str, MeasuredTimes] = {}
    trained_like = once_by_parts(lambda run: _trained_like(run, scaling.get(run.recipe.name, ())))
    measured_like = once_by_parts(_measured_like)
    steps = once_by_parts(lambda run: updates_of(run, plan.datasets[run.dataset.name]))
    for record in {record.run.key: record for record in records}.values():
        if record.run.dataset.name not in plan.datasets:
            continue
        if (like := trained_like(record.run)) in likes:
            here = devices.setdefault(_device(record.trained), MeasuredTimes(_is_gpu(record.trained)))
            if count := plan.length(record.run).updates or steps(record.run):
                here.update.setdefault(like, []).append(record.seconds / count)
        gpus = {_device(each): _is_gpu(each) for each, _ in record.measured}
        for device, metrics, seconds in _passes(record):
            here = devices.setdefault(device, MeasuredTimes(gpus[device]))
            here.measuring.setdefault((measured_like(record.run), metrics), []).append(seconds)
    return dict(sorted(devices.items()))


def _scaling(run: RunSpec) -> tuple[str, ...]:
    """The arguments of the run's recipe that change only the number of updates."""
    return registry.load("recipes", run.recipe.name).scaling


def _trained_like(run: RunSpec, scaling: Sequence[str]) -> str:
    """Key of runs whose updates cost the same.

    No argument in ``scaling`` changes that.
    """
    parts = run.to_dict()
    args = {name: value for name, value in parts["recipe"]["args"].items() if name not in scaling}
    return json.dumps(
        [{**parts["recipe"], "args": args}, parts["backbone"], parts["dataset"], parts["quantizer"]], sort_keys=True
    )


def _measured_like(run: RunSpec) -> str:
    parts = run.to_dict()
    return json.dumps([parts["backbone"], parts["dataset"], parts["quantizer"]], sort_keys=True)


def _device(provenance: Mapping[str, Any]) -> str:
    threads = provenance.get("threads")
    return f"{provenance.get('device', 'unknown device')}" + (f", {counted(threads, 'thread')}" if threads else "")


def _is_gpu(provenance: Mapping[str, Any]) -> bool:
    """Return whether a device is none of the CPUs; old records do not name those."""
    return provenance.get("cpu") not in (None, provenance.get("device"))


def _passes(record: RecordSummary) -> list[tuple[str, Metrics, float]]:
    """Each measurement of a run, and all of them together.

    The latter only if they were several on one device.
    """
    passes = []
    for each, seconds in record.measured:
        metrics = frozenset((protocol, name) for protocol, names in each["metrics"].items() for name in names)
        passes.append((_device(each), metrics, seconds))
    apart = sum(len(metrics) for _, metrics, _ in passes) == len(frozenset().union(*(m for _, m, _ in passes)))
    if len(passes) > 1 and apart and len({device for device, _, _ in passes}) == 1:
        union = frozenset().union(*(metrics for _, metrics, _ in passes))
        passes.append((passes[0][0], union, sum(seconds for _, _, seconds in passes)))
    return passes


@dataclass(frozen=True)
class GroupCost:
    """What is left to measure of one group of metrics, on one device."""

    values: int  # of all runs and protocols
    runs: int  # that lack one of them
    seconds: float  # of the runs that were timed
    not_timed: int  # runs
    at_most: bool  # seconds are of more metrics than these, for a run at least

    @property
    def takes(self) -> str:
        """The seconds for a table, with what they leave out."""
        if self.not_timed == self.runs:
            return "not timed here"
        timed = ("at most " if self.at_most else "") + format_duration(self.seconds)
        return timed + (f", without {counted(self.not_timed, 'run')} not timed here" if self.not_timed else "")


def cost_by_group(plan: Plan, left: Iterable[tuple[RunSpec, Metrics]], known: MeasuredTimes) -> dict[str, GroupCost]:
    """Compute what measuring the metrics that runs lack takes, by group.

    Each cost is that of measuring the group alone. A group that has all that is left is the whole; groups overlap, so
    costs do not add up.
    """
    of_group: dict[str, set[str]] = {}
    for metric, info in plan.metrics.items():
        for group in info.groups:
            of_group.setdefault(group, set()).add(metric)
    costs = {}
    lacked = list(left)
    for group, names in of_group.items():
        pairs = [(run, frozenset(each for each in metrics if each[1] in names)) for run, metrics in lacked]
        pairs = [(run, metrics) for run, metrics in pairs if metrics]
        exact = [known.measured(run, metrics) for run, metrics in pairs]
        bounds = [
            known.at_most(*pair) if seconds is None else seconds for seconds, pair in zip(exact, pairs, strict=True)
        ]
        costs[group] = GroupCost(
            values=sum(len(metrics) for _, metrics in pairs),
            runs=len(pairs),
            seconds=sum(filter(None, bounds)),
            not_timed=bounds.count(None),
            at_most=any(first is None and bound is not None for first, bound in zip(exact, bounds, strict=True)),
        )
    return {group: cost for group, cost in costs.items() if cost.values}


@dataclass(frozen=True)
class Forecast:
    """The expected time of a suite, and the files that could not be read."""

    text: str
    data: dict[str, Any]  # for JSON
    damage: Sequence[str]  # one sentence each


def forecast(
    plan: Plan, store: ResultStore, results: ResultStore, side_by_side: Sequence[int], gpus: int | None = None
) -> Forecast:
    """Forecast the rest of ``plan`` per device, for several numbers of parallel runs.

    The devices are those that such runs were measured on. Of GPUs, the runs have ``gpus``; None: one each.
    """
    entries = {run.key: entry for entry in plan.entries for run in entry.stages()}
    jobs = [Job(run, plan.wanted(run)) for run in plan.runs() if lacking(store.sound(run), plan.wanted(run))]
    records = store.summaries()
    jobs = cheapest_first(store, jobs, expected_seconds([plan], records, jobs))
    blocks, data = [], []
    for device, known in measured(plan, [*records, *results.summaries()]).items():
        seconds, untrained, unmeasured = [], Counter[str](), Counter[str]()
        training = measuring = 0.0
        for job in jobs:
            entry = entries[job.run.key]
            train = 0.0 if job.run in store else known.training(job.run, updates(plan, job.run))
            if train is None:
                untrained[f"{entry.label} on {entry.dataset}"] += 1
                continue
            measure = known.measured(job.run, _lacking(store, job))
            if measure is None:
                unmeasured[f"{entry.label} on {entry.dataset}"] += 1
            seconds.append(train + (measure or 0.0))
            training, measuring = training + train, measuring + (measure or 0.0)
        lines = [simulate(seconds, number, gpus if known.gpu else None) for number in side_by_side]
        groups = cost_by_group(plan, [(job.run, _lacking(store, job)) for job in jobs], known)
        alone = _alone(lines, gpus if known.gpu else None)
        blocks.append(
            _block(device, len(jobs), seconds, (training, measuring), untrained, unmeasured, lines, groups, alone)
        )
        data.append(
            {
                "device": device,
                "left": len(jobs),
                "counted": len(seconds),
                "training_seconds": training,
                "measuring_seconds": measuring,
                "not_counted": dict(untrained),
                "measuring_not_counted": dict(unmeasured),
                "measuring_by_group": {name: asdict(cost) for name, cost in groups.items()},
                "gpus": gpus if known.gpu else None,
                "jobs": [{**vars(line), "device_hours": sum(seconds) / 3600} for line in lines],
            }
        )
    damage = [*store.damage.values(), *results.damage.values()]
    head = f"{plan.suite.name}: {counted(len(entries), 'distinct run')}, {len(jobs):,} not done"
    if not jobs:
        return Forecast(head, {"suite": plan.suite.name, "left": 0, "devices": []}, damage)
    if not blocks:
        blocks = [
            "Nothing is known of what they take: no such run was trained yet. Train one of each row, with --epochs 1 "
            "and another --store if need be, and give that folder as --results."
        ]
    return Forecast(
        "\n\n".join([head, *blocks]), {"suite": plan.suite.name, "left": len(jobs), "devices": data}, damage
    )


def _lacking(store: ResultStore, job: Job) -> Metrics:
    missing = lacking(store.sound(job.run), job.required)
    return frozenset((protocol, name) for protocol, names in missing.items() for name in names)


def _block(
    device: str,
    left: int,
    seconds: Sequence[float],
    parts: tuple[float, float],  # training, measuring
    untrained: Counter[str],
    unmeasured: Counter[str],
    lines: Sequence[Simulated],
    groups: Mapping[str, GroupCost],
    alone: str,
) -> str:
    """The paragraph on one device."""
    sentences = [f"{device}: {len(seconds)} of {counted(left, 'run')} by measured seconds"]
    if seconds:
        sentences[0] += f", {format_duration(parts[0])} of training and {format_duration(parts[1])} of measuring"
        rows = [
            [
                line.jobs,
                format_duration(line.makespan),
                f"{line.busy:.0%}",
                f"{sum(seconds) / 3600:.1f}",
                format_duration(line.at_least),
            ]
            for line in lines
        ]
        sentences.append(grid(["jobs", "takes", "busy", "device hours", "no order takes less than"], rows))
    sentences += [f"not counted, no such run was trained here: {_names(untrained)}"] if untrained else []
    sentences += [f"measuring not counted, it was not timed here: {_names(unmeasured)}"] if unmeasured else []
    if groups:
        rows = [[name, cost.values, cost.takes] for name, cost in groups.items()]
        sentences.append(grid(["measuring, by --metrics", "values left", "takes"], rows))
    if seconds:
        sentences.append(f"{alone} Starts of processes, downloads, queues: not counted.")
    return "\n".join(sentences)


def _alone(lines: Sequence[Simulated], gpus: int | None) -> str:
    """Say which jobs have a device to themselves."""
    if gpus is None or all(line.jobs <= gpus for line in lines):
        return "Each job has such a device to itself."
    return f"Jobs share {counted(gpus, 'GPU')} by time slices, which makes no run faster: --gpus N counts with others."


def _names(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({number})" if number > 1 else name for name, number in counts.items())
