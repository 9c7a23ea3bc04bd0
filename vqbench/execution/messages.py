"""What driver, workers and ranks exchange: settings, jobs, progress, results."""

from __future__ import annotations

import signal
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from vqbench.spec import Job, RunSpec

if TYPE_CHECKING:
    from vqbench.store.results import ResultStore

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # request a stop of the driver, a worker or a rank


@dataclass(frozen=True)
class RunSettings:
    """How runs are carried out; sent to every worker and rank."""

    device: str = "auto"  # auto, cpu, cuda or cuda:N
    devices: int = 1  # that share each run
    plugins: tuple[Path, ...] = ()  # plugin files named on the command line, absolute
    logger: str | None = None  # receives losses, epochs and values; see vqbench.execution.loggers
    deterministic: bool = False  # see vqbench.system.determinism
    offline: bool = False  # fetch no data and no weights
    checkpoint_interval: float = 15.0  # least seconds between checkpoints of a training
    capture: bool = False  # replay updates as CUDA graphs; see vqbench.training.capture

    def downloads(self) -> AbstractContextManager[None]:
        """Return a context in which nothing is downloaded, if these settings are offline."""
        if not self.offline:
            return nullcontext()
        from vqbench import assets

        return assets.no_downloads()


# From the driver to a worker -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerSetup:
    """What a worker needs before its first run."""

    folder: Path  # the results folder
    settings: RunSettings


@dataclass(frozen=True)
class AssignedJob:
    """The next job of a worker, and the device to carry it out on."""

    job: Job
    device: str


@dataclass(frozen=True)
class StopRequest:
    """Save a checkpoint and end."""


# From a worker to the driver -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerReady:
    """The worker accepts jobs."""

    gpus: int  # that it sees


@dataclass(frozen=True)
class RunStarted:
    """The run has begun an activity: training, evaluating or sampling."""

    activity: str


@dataclass(frozen=True)
class RunAdvanced:
    """The current activity has done so many of its updates or images."""

    done: int
    total: int


@dataclass(frozen=True)
class LogMessage:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class WorkerExit:
    """The worker ends by itself, after its last run or because of a signal."""

    signal: int | None


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


def result_without_first_stage(job: Job, store: ResultStore) -> RunResult | None:
    """Return the result of a job whose first stage is not done, else None.

    None as well for a run that builds on no other.
    """
    first = job.first_stage
    if first is None or first in store:
        return None
    if store.folder(first).exists() and store.is_locked(first):
        return RunResult("held_elsewhere")  # until its first stage is done there
    failure = store.obstacle(first)
    why = f"failed: {failure.reason}" if failure else "is not done yet; the same command does it first"
    return RunResult("machine_fault", f"its first stage, {first.key}, {why}")


DONE = "done"  # the outcome of a run that was trained or evaluated now


class ProgressListener(Protocol):
    """Receives the progress of runs."""

    def run_started(self, run: RunSpec, activity: str) -> None:
        """A run has begun an activity: training, evaluating or sampling."""

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        """The current activity has done so many of its updates or images."""

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        """A run has ended; ``outcome``, for the user to read, is DONE if it is complete."""

    def log(self, text: str) -> None:
        """Show one sentence to the user."""
