"""Messages between the driver and its workers; a run ends with a RunResult."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vqbench.execution.settings import RunSettings
from vqbench.spec import Job

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
    """The run has begun an activity: training, measuring or sampling."""

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
