"""Runs in this process, for debuggers and for the ranks of torchrun."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from vqbench.errors import VqbenchError
from vqbench.execution.executors.executor import Summary, continuation
from vqbench.execution.messages import ProgressListener, RunResult, RunSettings
from vqbench.execution.runner import Runner
from vqbench.execution.stopping import MAX_RESUMES, Stop
from vqbench.spec import Job
from vqbench.store.record import Failure

RETRY_SECONDS = 1.0  # between two checks of runs that another process holds


class InlineExecutor:
    """Carries out jobs one after the other in this process.

    A crash ends all of them.
    """

    def __init__(self, folder: Path, settings: RunSettings, listener: ProgressListener, stop: Stop) -> None:
        self.runner = Runner(folder, settings, listener, stop)
        self.listener, self.stop = listener, stop
        self.summary = Summary()
        self._kills: dict[str, int] = {}  # key of a run -> how many times one of its processes was killed

    def execute(self, jobs: Sequence[Job]) -> Summary:
        """Carry out all ``jobs``.

        Runs that another process holds are retried at the end.

        Raises VqbenchError if ranks are lost that a launcher such as torchrun has started.
        """
        remaining = list(jobs)
        while remaining and not self.stop():
            remaining = self._attempt_each(remaining)
        self.runner.close()
        return self.summary

    def _attempt_each(self, jobs: Sequence[Job]) -> list[Job]:
        """Attempt each job once; returns those to attempt again."""
        held_elsewhere, killed = [], []
        for job in jobs:
            if self.stop():
                return []
            result = self._counting_kills(job, self.runner.attempt(job))
            if result.status == "killed":
                self.listener.log(f"{job}: {result.reason}; it {continuation(self.runner.store, job.run)}")
                killed.append(job)
            elif result.status == "held_elsewhere":
                held_elsewhere.append(job)
            else:
                self.summary.add(job, result, self.listener)
            if self.runner.broken and not self.stop():
                raise VqbenchError(f"{result.reason}; no run can go on without all ranks: start the same command again")
        if held_elsewhere and not killed:
            self.listener.log(f"waiting for {held_elsewhere[0]}, on which another process works")
            time.sleep(RETRY_SECONDS)
        return killed + held_elsewhere

    def _counting_kills(self, job: Job, result: RunResult) -> RunResult:
        """Turn the result of a run that was killed too many times into a failure."""
        if result.status != "killed":
            return result
        times = self._kills[job.run.key] = self._kills.get(job.run.key, 0) + 1
        if times <= MAX_RESUMES:
            return result
        how = continuation(self.runner.store, job.run)
        reason = f"{result.reason}, {times} times; with --retry-failed it {how}"
        self.runner.store.fail(job.run, Failure(reason, []))
        return RunResult("failed", reason)
