"""Train and evaluate all missing runs of suites with an executor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vqbench.distributed.launching import Launched, launched
from vqbench.errors import Damaged, StoreError, TimeUp, UsageError, sentence
from vqbench.execution.executors.creation import create_executor
from vqbench.execution.executors.executor import Summary
from vqbench.execution.executors.executor_options import ExecutorOptions
from vqbench.execution.messages import ProgressListener, RunSettings
from vqbench.execution.preparation import prepare, required_assets
from vqbench.execution.progress import run_progress, short_names
from vqbench.execution.stopping import Stop
from vqbench.planning import plan_file
from vqbench.planning.cost import cheapest_first, expected_seconds
from vqbench.planning.plan import Plan
from vqbench.spec import Job, RequiredMetrics, RunSpec
from vqbench.store import deletion
from vqbench.store.results import ResultStore
from vqbench.system.environment import checkpoint_interval
from vqbench.system.output import few

Notify = Callable[[str], None]  # shows one sentence to the user
Listen = Callable[[Sequence[Job]], AbstractContextManager[ProgressListener]]  # opens the listener of these jobs


@dataclass(frozen=True)
class RunOptions:
    """How the runs of suites are carried out."""

    device: str = "auto"
    jobs: int | None = None  # runs side by side; 0: in this process; None: one per GPU, or one
    timeout: float | None = None  # seconds that each run may take
    retry_failed: bool = False
    quiet: bool = False
    plugins: tuple[Path, ...] = ()  # files that the user named
    devices: int | None = None  # per run; None: one, or all ranks that torchrun has started
    executor: ExecutorOptions = field(default_factory=ExecutorOptions)
    logger: str | None = None  # receives losses, epochs and values; see vqbench.execution.loggers
    deterministic: bool = False  # see vqbench.system.determinism
    capture: bool = False  # replay updates as CUDA graphs; see vqbench.training.capture
    offline: bool = False  # fetch no data and no weights
    listen: Listen | None = None  # receives the progress, in place of the terminal

    def settings(self, devices: int) -> RunSettings:
        """Return the settings of all processes, for ``devices`` devices per run.

        Raises UsageError for a wrong interval between checkpoints.
        """
        plugins = tuple(path.resolve() for path in self.plugins)
        interval = checkpoint_interval()
        return RunSettings(
            self.device, devices, plugins, self.logger, self.deterministic, self.offline, interval, self.capture
        )


@dataclass(frozen=True)
class SuiteSummary:
    """How the runs of suites ended."""

    lacking: int  # runs that lacked something
    failed: Sequence[str] = ()  # one sentence for each run that failed now
    failed_earlier: Sequence[str] = ()  # the rows of runs that failed earlier, which were not tried again


def run_suites(
    plans: Sequence[Plan], store: ResultStore, options: RunOptions, stop: Stop, notify: Notify
) -> SuiteSummary | None:
    """Train and evaluate all missing runs of ``plans``, cheapest first.

    Returns None on every rank but the first of a group that torchrun started. Raises Interrupted if a signal stopped
    the work, but not if its time was up, and UsageError for options that do not fit together.
    """
    ranks = launched()
    if ranks is not None:
        _require_fitting(options, ranks)
        if ranks.rank > 0:
            from vqbench.execution.rank_process import follow_launched

            follow_launched(options.settings(ranks.size))
            return None
    checkpoint_interval()  # raises now, rather than in the first training
    for note in deletion.tidy(store.root, {run.key for plan in plans for run in plan.runs()}):
        notify(note)
    lacking = missing_jobs(plans, store, options.retry_failed, notify)
    failed_earlier = _failed_earlier(lacking, store)
    left_out = {job.run.key for job in failed_earlier}
    jobs = [job for job in lacking if job.run.key not in left_out]
    summary = Summary()
    if jobs or ranks:  # the ranks wait for what the first one does
        for plan in plans:
            plan_file.save(plan, store)
            prepare(plan)  # now, rather than after hours of training
        for note in dict.fromkeys(note for plan in plans for info in plan.datasets.values() for note in info.notes):
            notify(note)
        needs = sorted({name for plan in plans for name in required_assets(plan)})
        expected = expected_seconds(plans, store.summaries(), jobs)
        ordered = cheapest_first(store, jobs, expected)
        for damaged in few(store.damage.values()):  # of other runs; those of these runs are set aside
            notify(damaged)
        settings = options.settings(ranks.size if ranks else options.devices or 1)
        headline = partial(_headline, plans, store)
        listen = options.listen or (lambda jobs: run_progress(jobs, options.quiet, expected, headline))
        with listen(ordered) as listener, stop.graceful(listener.log):
            executor = create_executor(
                options.executor,
                store.root.resolve(),
                settings,
                needs,
                listener,
                stop,
                workers=options.jobs,
                timeout=options.timeout,
            )
            summary = executor.execute(ordered)
    if stop.cause and not isinstance(stop.cause, TimeUp):
        raise stop.cause
    return SuiteSummary(len(lacking), summary.failed, short_names(failed_earlier))


def missing_jobs(plans: Sequence[Plan], store: ResultStore, retry_failed: bool, notify: Notify) -> list[Job]:
    """List every run that lacks something, with its required metrics.

    A run that several of ``plans`` share is listed once.
    """
    wanted: dict[str, RequiredMetrics] = {}
    runs, firsts = {}, {}
    labels: dict[str, str] = {}
    seconds: dict[str, bool] = {}
    for plan in plans:
        for run in plan.runs():
            runs[run.key], firsts[run.key] = run, plan.first_of(run)
            labels.setdefault(run.key, plan.label(run))
            seconds[run.key] = plan.generates(run)
            for name, metrics in plan.wanted(run).items():
                wanted.setdefault(run.key, {}).setdefault(name, {}).update(metrics)
    return [
        Job(run, wanted[key], retry_failed, firsts[key], labels[key], seconds[key])
        for key, run in runs.items()
        if _lacks(store, run, wanted[key], notify)
    ]


def _failed_earlier(jobs: Sequence[Job], store: ResultStore) -> list[Job]:
    """The jobs that are left out since they, or what they build on, failed earlier.

    A run that was trained, and only lacks a value, holds up no other.
    """
    failed = {job.run.key for job in jobs if not job.retry_failed and _has_failed(store, job.run)}
    untrained = {job.run.key for job in jobs if job.run.key in failed and job.run not in store}
    parents = {job.run.key: job.run.parent for job in jobs}

    def is_blocked(key: str | None) -> bool:
        return key is not None and (key in untrained or is_blocked(parents.get(key)))

    return [job for job in jobs if job.run.key in failed or is_blocked(job.run.parent)]


def _has_failed(store: ResultStore, run: RunSpec) -> bool:
    try:
        return store.failure(run) is not None
    except StoreError:  # the attempt at the run reports it
        return False


def _headline(plans: Sequence[Plan], store: ResultStore, run: RunSpec) -> str:
    """The value of the suite's first metric that applies to a finished run, as text."""
    plan = next(plan for plan in plans if any(each.key == run.key for each in plan.runs()))
    record = store.sound(run)
    for protocol, metrics in plan.wanted(run).items():
        for name in metrics:
            value = record.values.get(protocol, {}).get(name) if record else None
            if value is not None and value.value is not None:
                info = plan.metrics[name]
                unit = f" [{info.unit}]" if info.unit else ""
                return f"{info.label}{unit} {value.value:z.{info.digits}f}"
    return ""


def _lacks(store: ResultStore, run: RunSpec, wanted: RequiredMetrics, notify: Notify) -> bool:
    """Whether ``run`` lacks a value.

    A damaged record is set aside first, unless another process works on the run.
    """
    try:
        return bool(store.missing(run, wanted))
    except StoreError as error:
        if not isinstance(error, Damaged):  # the attempt at the run reports it
            return True
        with store.lock(run) as locked:
            for damaged in store.mend(run) if locked else []:
                notify(sentence(damaged))
        return True


def _require_fitting(options: RunOptions, ranks: Launched) -> None:
    """Raise UsageError for options that do not go with torchrun's processes."""
    if options.devices not in (None, ranks.size):
        raise UsageError(
            f"--devices {options.devices}, but torchrun has started {ranks.size} ranks; leave --devices out"
        )
    if options.timeout is not None or (options.jobs or 0) > 1:
        raise UsageError("--timeout and --jobs need processes of vqbench's own; under torchrun leave them out")
    if options.executor.executor != "local":
        raise UsageError(
            f"--executor {options.executor.executor} starts processes of its own; under torchrun leave it out"
        )
