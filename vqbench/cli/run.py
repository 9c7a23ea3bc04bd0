"""``vqbench run``: what is missing of suites is worked out, handed to an executor, and shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqbench.cli.actions import needed_assets, prepare, state, table
from vqbench.distributed.launching import Launched, launched
from vqbench.errors import Damaged, StoreError, TimeUp, UsageError, sentence
from vqbench.execution.executors.executor_options import ExecutorOptions
from vqbench.execution.results import Summary
from vqbench.execution.settings import RunSettings
from vqbench.execution.stopping import Stop
from vqbench.planning import plan_file
from vqbench.planning.cost import cheapest_first
from vqbench.planning.jobs import Job, RequiredMetrics
from vqbench.planning.plan import Plan
from vqbench.spec import RunSpec
from vqbench.store import deletion
from vqbench.store.results import ResultStore
from vqbench.system.output import name_damage


@dataclass(frozen=True)
class RunOptions:
    """How ``run`` goes about its work."""

    device: str = "auto"
    places: int | None = None  # runs side by side; 0: in this process; None: one for each GPU, or one
    timeout: float | None = None  # seconds that each run may take
    retry_failed: bool = False
    quiet: bool = False
    plugins: tuple[Path, ...] = ()  # files that the user named
    devices: int | None = None  # that share each run; None: one, or all ranks that torchrun has started
    where: ExecutorOptions = field(default_factory=ExecutorOptions)
    logger: str | None = None
    deterministic: bool = False
    offline: bool = False

    def settings(self, devices: int) -> RunSettings:
        """Return what every process that carries out runs receives, for runs of so many devices."""
        plugins = tuple(path.resolve() for path in self.plugins)
        return RunSettings(self.device, devices, plugins, self.logger, self.deterministic, self.offline)


def run(plans: Sequence[Plan], folder: Path, how: RunOptions, stop: Stop) -> int:
    """Do what is missing of all suites, cheapest first, and print their tables; the exit code.

    0 if all runs are done, 1 if some failed. Raises Interrupted, with its own code, when the work was stopped.
    """
    ranks = launched()
    if ranks is not None:
        _check(how, ranks)
        if ranks.rank > 0:
            from vqbench.execution.rank_process import follow_launched

            follow_launched(how.settings(ranks.size))
            return 0
    store = ResultStore(folder)
    for note in deletion.tidy(folder, {run.key for plan in plans for run in plan.runs()}):
        print(f"vqbench: {note}", file=sys.stderr)
    jobs = _jobs(plans, store, how.retry_failed)
    if jobs or ranks:
        for plan in plans:
            plan_file.save(plan, store)
            prepare(plan, say=False)  # now, rather than after hours of training
        for note in dict.fromkeys(note for plan in plans for info in plan.datasets.values() for note in info.notes):
            print(f"vqbench: {note}", file=sys.stderr)
        needs = sorted({name for plan in plans for name in needed_assets(plan)})
        ordered = cheapest_first(plans, store, jobs)
        name_damage(store.damage.values())  # of other runs; those of these are set aside
        outcome = _execute(ordered, needs, folder, how, stop)
    else:
        runs = {run.key for plan in plans for run in plan.runs()}
        names = ", ".join(plan.suite.name for plan in plans)
        print(f"{names}: nothing left to do, {_all(len(runs))} done", file=sys.stderr)
        outcome = Summary()
    if stop.reason and not isinstance(stop.reason, TimeUp):
        raise stop.reason
    for plan in plans:
        print(table(plan, [folder], "text", paper=False), end="")
    for failed in outcome.failed:
        print(f"vqbench: {sentence(failed)}", file=sys.stderr)
    left = _left(plans, store, how.retry_failed)
    if stop.reason and left:
        raise TimeUp(f"the time is up; left: {left}; the same command goes on")
    return 1 if outcome.failed else 0


def _all(runs: int) -> str:
    return "its run is" if runs == 1 else f"all {runs:,} runs are"


def _check(how: RunOptions, ranks: Launched) -> None:
    """Raises UsageError for what cannot be had where the processes are there already."""
    if how.devices not in (None, ranks.size):
        raise UsageError(f"--devices {how.devices}, but torchrun has started {ranks.size} ranks; leave --devices out")
    if how.timeout is not None or (how.places or 0) > 1:
        raise UsageError("--timeout and --places need processes of vqbench's own; under torchrun leave them out")
    if how.where.executor != "local":
        raise UsageError(f"--executor {how.where.executor} starts processes of its own; under torchrun leave it out")


def _execute(jobs: list[Job], needs: list[str], folder: Path, how: RunOptions, stop: Stop) -> Summary:
    from vqbench.execution.progress import run_progress

    if how.where.executor != "local" and any(job.first_stage is not None for job in jobs):
        raise UsageError(
            f"second stages build on files of their first, which --executor {how.where.executor} does not send along; "
            "leave the option out"
        )
    folder = folder.resolve()
    with run_progress(len(jobs), how.quiet) as listener, stop.graceful(listener.log):
        ranks = launched()
        devices = ranks.size if ranks else how.devices or 1
        if devices > 1:  # torch would tell each rank that it looks for parameters without a gradient, as it is asked to
            os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        settings = how.settings(devices)
        if how.where.executor == "ray":
            from vqbench.execution.executors.ray import RayExecutor

            return RayExecutor(folder, settings, how.where, needs, listener, stop, how.timeout).execute(jobs)
        if how.places == 0 or ranks:
            from vqbench.execution.executors.inline import InlineExecutor

            return InlineExecutor(folder, settings, listener, stop).execute(jobs)
        from vqbench.execution.executors.local import LocalExecutor
        from vqbench.execution.executors.slurm import SlurmExecutor

        if how.where.executor == "slurm":
            return SlurmExecutor(folder, settings, how.where.slurm, listener, stop, how.timeout).execute(jobs)
        return LocalExecutor(folder, settings, listener, stop, how.places, how.timeout).execute(jobs)


def _jobs(plans: Sequence[Plan], store: ResultStore, retry_failed: bool) -> list[Job]:
    """Every run that lacks something, once, with all that any of the suites wants of it."""
    wanted: dict[str, RequiredMetrics] = {}
    runs, firsts = {}, {}
    for plan in plans:
        for run in plan.runs():
            runs[run.key], firsts[run.key] = run, plan.first_of(run)
            for name, metrics in plan.wanted(run).items():
                wanted.setdefault(run.key, {}).setdefault(name, {}).update(metrics)
    return [
        Job(run, wanted[key], retry_failed, firsts[key]) for key, run in runs.items() if _lacks(store, run, wanted[key])
    ]


def _lacks(store: ResultStore, run: RunSpec, wanted: RequiredMetrics) -> bool:
    """Whether something is missing; a damaged record is set aside, so all is, unless another process is at it."""
    try:
        return bool(store.missing(run, wanted))
    except StoreError as error:
        if not isinstance(error, Damaged):  # the attempt at the run says so
            return True
        with store.lock(run) as held:
            for damaged in store.mend(run) if held else []:
                print(f"vqbench: {sentence(damaged)}", file=sys.stderr)
        return True


def _left(plans: Sequence[Plan], store: ResultStore, retry_failed: bool) -> str:
    """How many runs the same command would still do, by their state."""
    states = {run.key: state(plan, store, run) for plan in plans for run in plan.runs()}
    counts: dict[str, int] = {}
    for stands in states.values():
        kind = stands.partition(":")[0].partition(",")[0]
        if kind != "done" and (kind != "failed" or retry_failed):
            counts[kind] = counts.get(kind, 0) + 1
    return ", ".join(f"{number} {kind}" for kind, number in counts.items())
