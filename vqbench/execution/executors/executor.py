"""The base of all executors that carry out runs in other processes."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vqbench.errors import StoreError, UsageError
from vqbench.execution.messages import DONE, ProgressListener, RunResult
from vqbench.execution.stopping import Stop
from vqbench.spec import Job, RunSpec
from vqbench.store.results import ResultStore

POLL_SECONDS = 0.2  # between two checks of clocks and signals
RETRY_SECONDS = 1.0  # between two checks of a run that another process holds


@dataclass
class Summary:
    """The results of all jobs."""

    finished: int = 0  # runs trained or evaluated now
    failed: list[str] = field(default_factory=list)  # one sentence per failed run

    def add(self, job: Job, result: RunResult, listener: ProgressListener) -> None:
        """Count and report the result of a job.

        Raises UsageError or StoreError for a result that no other run could avoid: the whole command fails.
        """
        status, reason = result.status, result.reason
        if status == "done":
            self.finished += 1
            listener.run_ended(job.run, DONE)
        elif status == "already_done":
            listener.run_ended(job.run, "done by another process")
        elif status == "refused":
            raise UsageError(reason)
        elif status == "store_unwritable":
            raise StoreError(reason)
        elif status == "stopped":
            listener.run_ended(job.run, reason)
        elif status in ("failed", "machine_fault"):
            self.failed.append(f"{job}: {reason}")
            listener.run_ended(job.run, f"FAILED: {reason}")
        else:
            raise AssertionError(status)


class Executor:
    """Carries out jobs in other processes, in their order, as capacity becomes free.

    A subclass says where: it assigns jobs, processes messages, requests the stop and shuts down.
    """

    def __init__(self, folder: Path, listener: ProgressListener, stop: Stop) -> None:
        self.store, self.listener, self.stop = ResultStore(folder), listener, stop
        self.summary = Summary()
        self._queue: deque[Job] = deque()
        self._postponed: dict[str, tuple[Job, float]] = {}  # key of a run that another process holds -> time to retry
        self._wait_logged = False

    def execute(self, jobs: Sequence[Job]) -> Summary:
        """Carry out all ``jobs``.

        Returns early, with the work kept, once :attr:`stop` is set.
        """
        self._queue.extend(jobs)
        try:
            stopping = False
            while self._queue or self._postponed or self._is_busy():
                if self.stop():
                    if not stopping:
                        self._request_stop()
                    stopping = True
                    self._queue.clear()
                    self._postponed.clear()
                else:
                    self._requeue_released()
                    self._assign_jobs()
                self._process_messages(POLL_SECONDS)
            return self.summary
        finally:
            self._shut_down(graceful=sys.exc_info()[0] is None)

    def _is_busy(self) -> bool:
        """Whether a run is active."""
        raise NotImplementedError

    def _assign_jobs(self) -> None:
        """Start queued jobs wherever capacity is free."""
        raise NotImplementedError

    def _process_messages(self, timeout: float) -> None:
        """Process pending messages, waiting at most ``timeout`` seconds for one."""
        raise NotImplementedError

    def _request_stop(self) -> None:
        """Ask all active runs to save a checkpoint and stop."""
        raise NotImplementedError

    def _shut_down(self, graceful: bool) -> None:
        """End all processes; ``graceful`` unless an error is being raised."""
        raise NotImplementedError

    # Runs that other processes hold -----------------------------------------------------------------------------------

    def _postpone(self, job: Job) -> None:
        """Retry later a run that another process holds."""
        self._postponed[job.run.key] = job, time.monotonic() + RETRY_SECONDS

    def _requeue_released(self) -> None:
        """Queue the postponed runs that no other process holds any more.

        Whether they were finished there shows when they are attempted.
        """
        held = [job for job, _ in self._postponed.values()]
        idle = not self._is_busy() and pop_ready(deque(self._queue), held) is None
        if held and idle and not self._wait_logged:
            self._wait_logged = True
            job = held[0]
            self.listener.log(f"waiting for {job}, on which another process works")
        for key, (job, retry_at) in list(self._postponed.items()):
            if time.monotonic() < retry_at:
                continue
            self._postpone(job)
            if not self.store.is_locked(job.run):
                del self._postponed[key]
                self._queue.append(job)


def continuation(store: ResultStore, run: RunSpec) -> str:
    """How a run that was killed continues, for the user to read."""
    begun = (store.folder(run) / "last.pt").exists()
    return "resumes from its last checkpoint" if begun else "starts from the beginning, as it has no checkpoint yet"


def pop_ready(queue: deque[Job], active: Iterable[Job]) -> Job | None:
    """Remove and return the first queued job that can start, else None.

    A second stage can start when its first stage is neither queued nor active.
    """
    pending = {job.run.key for job in (*queue, *active)}
    for job in queue:
        if job.first_stage is None or job.first_stage.key not in pending:
            queue.remove(job)
            return job
    return None
