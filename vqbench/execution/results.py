"""How jobs ended, and the listener that follows them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from vqbench.errors import StoreError, UsageError
from vqbench.planning.jobs import Job
from vqbench.spec import RunSpec

# done: trained or measured now · there: nothing was missing any more · held: another process works on it ·
# failed: recorded as such, now or earlier · machine: failed for a reason outside of the run, so not recorded ·
# killed: somebody, such as a system without memory, ended a process of it, so it resumes ·
# stopped: asked to stop, work kept · refused: no run can be carried out as asked · unwritable: nor anything stored
Status = Literal["done", "there", "held", "failed", "machine", "killed", "stopped", "refused", "unwritable"]


@dataclass(frozen=True)
class RunResult:
    """How an attempt at a run ended. ``sound``: whether the process that made it is fit for another run."""

    how: Status
    reason: str = ""
    sound: bool = True


class Listener(Protocol):
    """Who is told how the work goes on."""

    def run_started(self, run: RunSpec, doing: str) -> None: ...
    def advanced(self, run: RunSpec, done: int, total: int) -> None: ...
    def run_ended(self, run: RunSpec, outcome: str) -> None: ...
    def say(self, text: str) -> None: ...


@dataclass
class Summary:
    """How all jobs ended."""

    finished: int = 0  # runs trained or measured now
    failed: list[str] = field(default_factory=list)  # one sentence each

    def note(self, job: Job, ended: RunResult, listener: Listener) -> None:
        """Count one ended job and tell of it. Raises what must end the whole work."""
        if ended.how == "done":
            self.finished += 1
            listener.run_ended(job.run, "done")
        elif ended.how == "there":
            listener.run_ended(job.run, "done by another process")
        elif ended.how == "refused":
            raise UsageError(ended.reason)
        elif ended.how == "unwritable":
            raise StoreError(ended.reason)
        elif ended.how == "stopped":
            listener.run_ended(job.run, ended.reason)
        elif ended.how in ("failed", "machine"):
            self.failed.append(f"{job}: {ended.reason}")
            listener.run_ended(job.run, f"FAILED: {ended.reason}")
        else:
            raise AssertionError(ended.how)
