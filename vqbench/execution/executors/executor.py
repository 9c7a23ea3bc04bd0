"""What every executor does that hands runs out: in their order, as room becomes free, until told to stop."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from vqbench.execution.results import Listener, Summary
from vqbench.execution.stopping import Stop
from vqbench.planning.jobs import Job
from vqbench.store.results import ResultStore

TICK = 0.2  # seconds between two looks at clocks and signals
AGAIN = 1.0  # seconds between two looks at runs that another process holds


class Executor:
    """Carries out jobs elsewhere. A child says where: what is busy, how to hand out, to hear, to halt, to dismiss."""

    def __init__(self, folder: Path, listener: Listener, stop: Stop) -> None:
        self.store, self.listener, self.stop = ResultStore(folder), listener, stop
        self.outcome = Summary()
        self._queue: deque[Job] = deque()
        self._held: dict[str, tuple[Job, float]] = {}  # key of a run held by another process -> when to look again
        self._waiting = False  # was told

    def execute(self, jobs: Sequence[Job]) -> Summary:
        """Do all ``jobs``, in order as room becomes free. Returns early, with the work kept, when told to stop."""
        self._queue.extend(jobs)
        try:
            halted = False
            while self._queue or self._held or self._busy():
                if self.stop():
                    if not halted:
                        self._halt()
                    halted = True
                    self._queue.clear()
                    self._held.clear()
                else:
                    self._look_again()
                    self._hand_out()
                self._hear(TICK)
            return self.outcome
        finally:
            self._dismiss(patiently=sys.exc_info()[0] is None)

    def _busy(self) -> bool:
        """Whether any run is at work."""
        raise NotImplementedError

    def _hand_out(self) -> None:
        """Give queued jobs to whoever is free."""
        raise NotImplementedError

    def _hear(self, patience: float) -> None:
        """Take what is told, waiting for it no longer than ``patience`` seconds."""
        raise NotImplementedError

    def _halt(self) -> None:
        """Tell all that work to keep the work and end."""
        raise NotImplementedError

    def _dismiss(self, patiently: bool) -> None:
        """Nothing is left to do, or something went wrong: leave nothing behind."""
        raise NotImplementedError

    # Runs that other processes hold -----------------------------------------------------------------------------------

    def _hold(self, job: Job) -> None:
        """Another process works on this run: look at it again later."""
        self._held[job.run.key] = job, time.monotonic() + AGAIN

    def _look_again(self) -> None:
        """Queue the runs that are no longer held elsewhere: done there, or left."""
        idle = not self._queue and not self._busy()
        if self._held and idle and not self._waiting:
            self._waiting = True
            job, _ = next(iter(self._held.values()))
            self.listener.say(f"waiting for {job}, on which another process works")
        for key, (job, when) in list(self._held.items()):
            if time.monotonic() < when:
                continue
            self._hold(job)
            if not self.store.is_locked(job.run):
                del self._held[key]
                self._queue.append(job)
