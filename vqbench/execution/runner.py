"""Carry out one run after the other: train, evaluate, store. Whatever goes wrong ends in the run's own outcome."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from vqbench import registry
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.distributed.launching import launched
from vqbench.errors import (
    AssetError,
    Interrupted,
    NotDistributed,
    RunError,
    StoreError,
    Unwritable,
    UsageError,
    VqbenchError,
)
from vqbench.evaluation.snapshot_writer import lpips_of
from vqbench.execution.rank_pool import RankPool
from vqbench.execution.rank_task import RankTask, RankWorker
from vqbench.execution.results import ProgressListener, RunResult
from vqbench.execution.settings import RunSettings
from vqbench.planning.jobs import Job
from vqbench.spec import RunSpec
from vqbench.store.results import LOG_LINES, Failure, Record, ResultStore
from vqbench.system import determinism
from vqbench.training.engine import devices_of

ASKED = re.compile(r"tried to allocate ([\d.]+ ?\w+)", re.IGNORECASE)  # in torch's sentence on any device


class Runner:
    """Carries out runs in this process, or in it and those that follow it: ``devices`` in all."""

    def __init__(
        self, folder: Path, settings: RunSettings, listener: ProgressListener, stopped: Callable[[], bool]
    ) -> None:
        self.store, self.settings, self.listener = ResultStore(folder), settings, listener
        self.device, self.devices = settings.device, settings.devices
        self.stopped = stopped
        self.broken = False  # whether ranks are gone that this process cannot start again
        self._killed = False  # whether the last rank that was lost was ended from outside
        self._team: RankPool | None = None
        self._rank: RankWorker | None = None

    def attempt(self, job: Job) -> RunResult:
        """Do what is missing of a run, unless another process holds it. A failure is recorded and returned."""
        run = job.run
        try:
            with self.store.lock(run) as held:
                if not held:
                    return RunResult("held_elsewhere")
                for sentence in self.store.mend(run):
                    self.listener.log(sentence)
                if not self.store.missing(run, job.required):
                    return RunResult("already_done")
                failure = self.store.failure(run)
                if failure and not job.retry_failed:
                    return RunResult("failed", f"failed earlier: {failure.reason} (--retry-failed tries again)")
                if job.first_stage is not None and job.first_stage not in self.store:
                    return self._without(job.first_stage)
                return self._contained(job)
        except Unwritable as error:
            return RunResult("store_unwritable", str(error))
        except StoreError as error:
            return RunResult("machine_fault", str(error))

    def _without(self, first: RunSpec) -> RunResult:
        """What becomes of a run whose first stage is not done: it waits while another process is at that."""
        if self.store.folder(first).exists() and self.store.is_locked(first):
            return RunResult("held_elsewhere")
        failure = self.store.obstacle(first)
        why = f"failed: {failure.reason}" if failure else "is not there; the same command does it first"
        return RunResult("machine_fault", f"its first stage, {first.key}, {why}")

    def close(self) -> None:
        """Let the processes go that follow this one, if there are any. Only between runs."""
        if self.devices > 1 and launched() and not self.broken:
            self._ranks()  # they are there, and wait, though no run may have been left
        if self._team is not None:
            self._team.dismiss()
        self._team = self._rank = None

    def _contained(self, job: Job) -> RunResult:
        try:
            self._carry_out(job)
        except (KeyboardInterrupt, Unwritable):
            self._part()
            raise
        except (Interrupted, BrokenPipeError) as error:  # the latter: whoever reads what is printed is gone
            self._part()
            return RunResult("stopped", str(error))
        except (NotDistributed, registry.ChangedPlugin) as error:  # which nobody has begun; the next may be fit for it
            return RunResult("machine_fault", str(error))
        except UsageError as error:
            return RunResult("refused", str(error))
        except (AssetError, StoreError) as error:  # the machine's fault, not the run's: nothing is held against it
            return RunResult("machine_fault", str(error))
        except Exception as error:
            why, sound = _reason(error), isinstance(error, RunError)
            if not sound:
                why = self._part(blame=True) or why
                if self._killed:
                    return RunResult("killed", why, reusable=False)
            self.store.fail(job.run, Failure(why, traceback.format_exc().splitlines()[-LOG_LINES:]))
            return RunResult("failed", why, sound)
        return RunResult("done")

    def _part(self, blame: bool = False) -> str | None:
        """Give up the ranks, who are not where this one is; who of them has caused that, and how, if one has."""
        team, self._team, self._rank, self._killed = self._team, None, None, False
        if team is None:
            return None
        why = team.blame() if blame else None
        self._killed = blame and team.killed()
        self.broken = not team.followers
        team.end()
        return why

    def _carry_out(self, job: Job) -> None:
        run = job.run
        record = self.store.read(run)
        first = None if job.first_stage is None else self.store.folder(job.first_stage)
        work = RankTask(run, self.store.folder(run), self.store.missing(run, job.required), record is None, first)
        if self.devices > 1 and work.train:
            require_distributed(run)
        rank = self._ranks()
        if self._team is not None:
            self._team.tell(work)
        done = rank.do(work)
        if record is None:
            assert done.trained is not None
            record = Record(run, {}, done.made, done.trained.history)
        record.made["measured"] = [*record.made.get("measured", []), done.measured]
        for protocol, values in done.measurement.values.items():
            record.values.setdefault(protocol, {}).update(values)
        self.store.write_images(run, done.measurement.images)
        if done.portrait is not None:
            done.portrait(lpips_of(self.store.read_images(run)))
        self.store.write(record)

    def _ranks(self) -> RankWorker:
        """This process's part; at the first run, the others are started."""
        if self._rank is None:
            if self.devices > 1:
                devices_of(self.device, self._local_devices())  # raises for devices that this machine lacks
                self._team = RankPool(replace(self.settings, plugins=registry.files()))
            group = ALONE if self._team is None else self._team.group
            self._rank = RankWorker(self.settings, self.listener, self.stopped, group)
        return self._rank

    def _local_devices(self) -> int:
        """How many of the devices are of this machine: all, unless torchrun has started ranks on several."""
        ranks = launched()
        return ranks.local_size if ranks else self.devices


class SilentListener:
    """A ProgressListener of ranks beyond 0, which report nothing."""

    def run_started(self, run: RunSpec, activity: str) -> None: ...
    def run_advanced(self, run: RunSpec, done: int, total: int) -> None: ...
    def run_ended(self, run: RunSpec, outcome: str) -> None: ...
    def log(self, text: str) -> None: ...


def follow(group: RankGroup, settings: RunSettings) -> None:
    """Do as the first rank does, run after run, until it has no more to tell.

    An error that a user can act on is one of all ranks, and theirs is the next run; any other ends this process, whose
    last line the first rank repeats.
    """
    rank = RankWorker(settings, SilentListener(), lambda: False, group)
    while (work := group.hear()) is not None:
        try:
            with suppress(VqbenchError):
                rank.do(work)
        except Exception as error:
            traceback.print_exc()
            print(_reason(error), file=sys.stderr, flush=True)
            os._exit(1)  # at once, or what waits for the others inside torch would wait on


def require_distributed(run: RunSpec) -> None:
    """Raises NotDistributed for a run whose method, or recipe, is not made for several devices."""
    plugins: dict[str, Any] = {run.recipe.name: registry.load("recipes", run.recipe.name)}
    if run.parent is None:  # else its codebook is not learned any more
        plugins[run.quantizer.name] = registry.load("quantizers", run.quantizer.name)
    for name, plugin in plugins.items():
        if not plugin.distributed:
            raise NotDistributed(
                f"{name} is not made for several devices (distributed = False), whose codebooks would part; run it "
                "with --devices 1"
            )


def _reason(error: Exception) -> str:
    """Why a run failed, in one sentence."""
    if isinstance(error, RunError):
        return str(error)
    asked = ASKED.search(str(error))
    if asked or isinstance(error, MemoryError | torch.OutOfMemoryError):
        amount = f" (asked for {asked[1]} more)" if asked else ""
        return (
            f"out of memory{amount}; run fewer at once with --places, divide the batch with --devices, or use a device "
            "with more; the batch is not computed in parts, since codebooks depend on all of it at once"
        )
    if (operation := determinism.refused_operation(error)) is not None:
        return f"--deterministic: {operation} has no deterministic implementation on this device; leave the option out"
    return f"{type(error).__name__}: {error}"
