"""Runs in this very process, one after the other: for debuggers. What crashes takes the suite along."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from vqbench.errors import VqbenchError
from vqbench.execution.results import Listener, RunResult, Summary
from vqbench.execution.runner import Runner
from vqbench.execution.stopping import RESUMES, Stop
from vqbench.planning.jobs import Job
from vqbench.store.results import Failure

AGAIN = 1.0  # seconds between two looks at runs that another process holds


def execute(
    jobs: Sequence[Job], folder: Path, device: str, listener: Listener, stop: Stop, devices: int = 1
) -> Summary:
    """Do all ``jobs``, each on so many ``devices``. Those that another process holds are looked at again at the end.

    Raises VqbenchError if ranks are lost that somebody else has started.
    """
    runner = Runner(folder, device, listener, stop, devices)
    outcome = _execute(runner, jobs, listener, stop)
    runner.close()
    return outcome


def _execute(runner: Runner, jobs: Sequence[Job], listener: Listener, stop: Stop) -> Summary:
    outcome, left = Summary(), list(jobs)
    kills: dict[str, int] = {}  # key of a run -> how often a process of it was killed
    while left:
        held, again = [], []
        for job in left:
            if stop():
                return outcome
            ended = runner.attempt(job)
            if ended.how == "killed":
                ended = _killed(runner, job, ended, kills)
            if ended.how == "killed":
                listener.say(f"{job}: {ended.reason}; it resumes from its last checkpoint")
                again.append(job)
            elif ended.how == "held":
                held.append(job)
            else:
                outcome.note(job, ended, listener)
            if runner.broken and not stop():
                raise VqbenchError(f"{ended.reason}; no run can go on without all ranks: start the same command again")
        if held and not again:
            listener.say(f"waiting for {held[0]}, on which another process works")
            time.sleep(AGAIN)
        left = again + held
    return outcome


def _killed(runner: Runner, job: Job, ended: RunResult, kills: dict[str, int]) -> RunResult:
    """How an attempt ended of which a process was killed: after RESUMES more, the run has failed."""
    times = kills[job.run.key] = kills.get(job.run.key, 0) + 1
    if times <= RESUMES:
        return ended
    why = f"{ended.reason}, {times} times; --retry-failed resumes from its last checkpoint"
    runner.store.fail(job.run, Failure(why, []))
    return RunResult("failed", why)
