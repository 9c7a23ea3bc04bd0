"""Runs in this very process, one after the other: for debuggers. What crashes takes the suite along."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from vqbench.errors import VqbenchError
from vqbench.planning.job import Job, Listener, Outcome
from vqbench.running.runner import Runner
from vqbench.running.stopping import Stop

AGAIN = 1.0  # seconds between two looks at runs that another process holds


def execute(
    jobs: Sequence[Job], folder: Path, device: str, listener: Listener, stop: Stop, devices: int = 1
) -> Outcome:
    """Do all ``jobs``, each on so many ``devices``. Those that another process holds are looked at again at the end.

    Raises VqbenchError if ranks are lost that somebody else has started.
    """
    runner = Runner(folder, device, listener, stop, devices)
    outcome = _execute(runner, jobs, listener, stop)
    runner.close()
    return outcome


def _execute(runner: Runner, jobs: Sequence[Job], listener: Listener, stop: Stop) -> Outcome:
    outcome, left = Outcome(), list(jobs)
    while left:
        held = []
        for job in left:
            if stop():
                return outcome
            ended = runner.attempt(job)
            if ended.how == "held":
                held.append(job)
            else:
                outcome.note(job, ended, listener)
            if runner.broken and not stop():
                raise VqbenchError(f"{ended.reason}; no run can go on without all ranks: start the same command again")
        if held:
            listener.say(f"waiting for {held[0]}, on which another process works")
            time.sleep(AGAIN)
        left = held
    return outcome
