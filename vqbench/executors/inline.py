"""Runs in this very process, one after the other: for debuggers. What crashes takes the suite along."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from vqbench.job import Job, Listener, Outcome
from vqbench.runner import Runner
from vqbench.stopping import Stop

AGAIN = 1.0  # seconds between two looks at runs that another process holds


def execute(jobs: Sequence[Job], folder: Path, device: str, listener: Listener, stop: Stop) -> Outcome:
    """Do all ``jobs``. Those that another process holds are looked at again at the end."""
    outcome, left = Outcome(), list(jobs)
    runner = Runner(folder, device, listener, stop)
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
        if held:
            listener.say(f"waiting for {held[0]}, on which another process works")
            time.sleep(AGAIN)
        left = held
    return outcome
