"""Carry out runs in this process; the failure of a run becomes its result."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from vqbench import registry
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import (
    AssetError,
    Interrupted,
    NotDistributed,
    RunError,
    StoreError,
    Unwritable,
    UsageError,
    VqbenchError,
    named,
)
from vqbench.evaluation.snapshot_writer import lpips_of
from vqbench.execution.messages import ProgressListener, RunResult, RunSettings, result_without_first_stage
from vqbench.execution.rank_worker import RankResult, RankTask, RankWorker
from vqbench.spec import Job, RunSpec
from vqbench.store.record import LOG_LINES, Failure, Record
from vqbench.store.results import ResultStore
from vqbench.training.engine import devices_of

if TYPE_CHECKING:
    from vqbench.execution.loggers import GuardedLogger
    from vqbench.execution.rank_pool import RankPool

ALLOCATION = re.compile(r"tried to allocate ([\d.]+ ?\w+)", re.IGNORECASE)  # in torch's message on any device


class Runner:
    """Carries out runs in this process and, on several devices, in a RankPool.

    ``interruptible`` is whether Ctrl-C raises KeyboardInterrupt here. Where it does not, that error is one of the run.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        listener: ProgressListener,
        stopped: Callable[[], bool],
        interruptible: bool = True,
    ) -> None:
        self.store, self.settings, self.listener, self.stopped = ResultStore(folder), settings, listener, stopped
        self.device, self.devices, self.interruptible = settings.device, settings.devices, interruptible
        self.broken = False  # whether ranks were lost that this process cannot start again
        self._pool: RankPool | None = None
        self._worker: RankWorker | None = None

    def attempt(self, job: Job) -> RunResult:
        """Carry out what is missing of a run, unless another process works on it.

        A failure is recorded and returned. Raises KeyboardInterrupt alone.
        """
        try:
            with self.store.lock(job.run) as locked:
                if (skipped := self._skip(job, locked)) is not None:
                    return skipped
                self.store.forget_failure(job.run)  # a retry that is stopped leaves a stopped run, not a failed one
                logger = self._logger(job)
                result = self._carry_out(job, logger)
                if logger is not None:
                    logger.close(result.status if result.status in ("done", "stopped") else "failed")
                return result
        except Unwritable as error:
            return RunResult("store_unwritable", str(error))
        except StoreError as error:
            return RunResult("machine_fault", str(error))

    def _logger(self, job: Job) -> GuardedLogger | None:
        """Return the user's logger for one run; None without --logger."""
        if self.settings.logger is None:
            return None
        from vqbench.execution.loggers import GuardedLogger, RunInfo

        info = RunInfo(job.run.key, job.row, job.run.to_dict(), self.store.folder(job.run))
        return GuardedLogger(self.settings.logger, info, self.listener.log, self.interruptible)

    def _carry_out(self, job: Job, logger: GuardedLogger | None) -> RunResult:
        """Train and evaluate what is missing of a run that this process has locked."""
        try:
            record = self.store.read(job.run)
            task = self._task(job, record)
            worker = self._start_ranks()
            if self._pool is not None:
                self._pool.broadcast_task(task)
            record = self._write(job.run, record, worker.carry_out(task, logger))
            if logger is not None:
                logger.values(record)
        except BaseException as error:  # plugins may raise anything; SystemExit must not end the other runs
            if isinstance(error, Unwritable) or (isinstance(error, KeyboardInterrupt) and self.interruptible):
                self._abandon_ranks()
                raise
            return self._failed(job.run, error)
        return RunResult("done")

    def _skip(self, job: Job, locked: bool) -> RunResult | None:
        """Return the result of a run that is not to be carried out now; else None."""
        if not locked:
            return RunResult("held_elsewhere")
        for sentence in self.store.mend(job.run):
            self.listener.log(sentence)
        if not self.store.missing(job.run, job.required):
            return RunResult("already_done")
        failure = self.store.failure(job.run)
        if failure and not job.retry_failed:
            return RunResult("failed", f"failed earlier: {failure.reason}")
        return result_without_first_stage(job, self.store)

    def _task(self, job: Job, record: Record | None) -> RankTask:
        """Return the task of all ranks for ``job``. Raises NotDistributed."""
        train = record is None
        if self.devices > 1 and train:
            require_distributed(job.run)
        return RankTask(
            run=job.run,
            folder=self.store.folder(job.run),
            missing=self.store.missing(job.run, job.required),
            train=train,
            first_stage=None if job.first_stage is None else self.store.folder(job.first_stage),
        )

    def _write(self, run: RunSpec, record: Record | None, result: RankResult) -> Record:
        """Store what was trained and evaluated; returns the record.

        The record is written last, since its presence means that the run is whole.
        """
        if record is None:
            assert result.trained is not None
            record = Record(run, {}, result.provenance, result.trained.history)
        record.made["measured"] = [*record.made.get("measured", []), result.evaluated]
        for protocol, values in result.measurement.values.items():
            record.values.setdefault(protocol, {}).update(values)
        self.store.write_images(run, result.measurement.images)
        if result.write_snapshot is not None:
            result.write_snapshot(lpips_of(self.store.read_images(run)))
        self.store.write(record)
        return record

    def _failed(self, run: RunSpec, error: BaseException) -> RunResult:
        """Return the result of a failed run, recorded if the run itself is at fault."""
        reason = str(error)
        if isinstance(error, Interrupted | BrokenPipeError):  # the latter where nothing reads the output any more
            self._abandon_ranks()
            return RunResult("stopped", reason)
        if isinstance(error, NotDistributed | registry.ChangedPlugin | AssetError | StoreError):
            return RunResult("machine_fault", reason)
        if isinstance(error, UsageError):
            return RunResult("refused", reason)
        reusable = isinstance(error, RunError)  # what raised it has cleaned up behind itself
        if not reusable:
            lost, killed = self._abandon_ranks(blame=True)
            reason = lost or describe(error)
            if killed:
                return RunResult("killed", reason, reusable=False)
        self.store.fail(run, Failure(reason, traceback.format_exc().splitlines()[-LOG_LINES:]))
        return RunResult("failed", reason, reusable)

    def _start_ranks(self) -> RankWorker:
        """Return the worker of this process; at the first run, start the other ranks."""
        if self._worker is None:
            if self.devices > 1:
                from vqbench.execution.rank_pool import RankPool

                devices_of(self.device, self._local_devices())  # raises for devices that this machine lacks
                self._pool = RankPool(replace(self.settings, plugins=registry.files()))
            group = ALONE if self._pool is None else self._pool.group
            self._worker = RankWorker(self.settings, self.listener, self.stopped, group)
        return self._worker

    def _local_devices(self) -> int:
        """Return how many of the devices are of this machine.

        All are, unless torchrun has started ranks on several machines.
        """
        from vqbench.distributed.launching import launched

        ranks = launched()
        return ranks.local_size if ranks else self.devices

    def _abandon_ranks(self, blame: bool = False) -> tuple[str | None, bool]:
        """End the other ranks, which are out of step with this one.

        With ``blame``, returns why a rank was lost that has caused this, if one was, and whether it was killed.
        """
        pool, self._pool, self._worker = self._pool, None, None
        if pool is None:
            return None, False
        reason = pool.find_lost() if blame else None
        killed = blame and pool.was_killed()
        self.broken = not pool.processes
        pool.end()
        return reason, killed

    def close(self) -> None:
        """Let the other ranks end, if this run has any. Call it between runs only."""
        if self.devices > 1 and not self.broken:
            from vqbench.distributed.launching import launched

            if launched():
                self._start_ranks()  # they wait for tasks, even if no run was left to do
        if self._pool is not None:
            self._pool.dismiss()
        self._pool = self._worker = None


class SilentListener:
    """A ProgressListener that ignores all progress, for ranks beyond 0."""

    def run_started(self, run: RunSpec, activity: str) -> None: ...
    def run_advanced(self, run: RunSpec, done: int, total: int) -> None: ...
    def run_ended(self, run: RunSpec, outcome: str) -> None: ...
    def log(self, text: str) -> None: ...


def follow(group: RankGroup, settings: RunSettings) -> None:
    """Carry out the tasks that rank 0 broadcasts, until it broadcasts None.

    A VqbenchError is raised on all ranks alike, so that the next task follows it. Any other error ends this process;
    rank 0 reports the last line that it prints.
    """
    worker = RankWorker(settings, SilentListener(), lambda: False, group)
    while (task := group.receive_task()) is not None:
        try:
            with suppress(VqbenchError):
                worker.carry_out(task)
        except BaseException as error:  # signals are ignored here: plugins have raised it
            traceback.print_exc()
            print(describe(error), file=sys.stderr, flush=True)
            os._exit(1)  # at once: torch would wait for the other ranks


def require_distributed(run: RunSpec) -> None:
    """Raise NotDistributed unless quantizer and recipe support several devices."""
    plugins: dict[str, Any] = {run.recipe.name: registry.load("recipes", run.recipe.name)}
    if not plugins[run.recipe.name].second_stage:  # else its codebook is not learned any more
        plugins[run.quantizer.name] = registry.load("quantizers", run.quantizer.name)
    for name, plugin in plugins.items():
        if not plugin.distributed:
            raise NotDistributed(
                f"{name} does not support several devices (distributed = False): its ranks would diverge; run it with "
                "--devices 1"
            )


def describe(error: BaseException) -> str:
    """Return why a run failed, in one sentence."""
    if isinstance(error, RunError):
        return str(error)
    allocation = ALLOCATION.search(str(error))
    if allocation or isinstance(error, MemoryError | torch.OutOfMemoryError):
        amount = f" (asked for {allocation[1]} more)" if allocation else ""
        return (
            f"out of memory{amount}; run fewer at once with --jobs, divide the batch with --devices, or use a device "
            "with more; the batch is not computed in parts, since codebooks depend on all of it at once"
        )
    from vqbench.system import determinism

    if (operation := determinism.refused_operation(error)) is not None:
        return f"--deterministic: {operation} has no deterministic implementation on this device; leave the option out"
    return named(error)
