"""Results of runs, their summary, and the listener for their progress."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from vqbench.errors import StoreError, UsageError
from vqbench.spec import Job, RunSpec

# None of these reaches the disk; what is stored of a failure is its reason.
Status = Literal[
    "done",  # trained or evaluated now
    "already_done",  # nothing was missing any more
    "held_elsewhere",  # another process is working on this run
    "failed",  # failed now or earlier, with the reason on record
    "machine_fault",  # failed for a reason outside of the run, so nothing is recorded
    "killed",  # one of its processes was killed from outside (out of memory, for example); the run can resume
    "stopped",  # stopped on request; the work so far is kept
    "refused",  # wrong usage: no run can be carried out as requested
    "store_unwritable",  # the results folder cannot be written
]


@dataclass(frozen=True)
class RunResult:
    """The result of one attempt at a run."""

    status: Status
    reason: str = ""
    reusable: bool = True  # whether the process that made the attempt is fit for another run


class ProgressListener(Protocol):
    """Receives the progress of runs."""

    def run_started(self, run: RunSpec, activity: str) -> None:
        """A run has begun an activity: training, measuring or sampling."""

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        """The current activity has done so many of its updates or images."""

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        """A run has ended; ``outcome`` is for the user to read."""

    def log(self, text: str) -> None:
        """Show one sentence to the user."""


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
            listener.run_ended(job.run, "done")
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
