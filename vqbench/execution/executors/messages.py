"""What a worker and its driver tell each other; how a run ended is :class:`vqbench.planning.jobs.RunResult`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vqbench.planning.jobs import Job


@dataclass(frozen=True)
class Setup:
    """What a worker must know before its first run."""

    folder: Path  # of the results
    plugins: tuple[Path, ...]  # files that the user named
    devices: int = 1  # that share each run


@dataclass(frozen=True)
class Assigned:
    """A job, and the device to do it on."""

    job: Job
    device: str


@dataclass(frozen=True)
class Halt:
    """Keep the work and end."""


@dataclass(frozen=True)
class Ready:
    """The worker is up, and sees so many GPUs."""

    gpus: int


@dataclass(frozen=True)
class Started:
    """What the run at work does from now on."""

    doing: str


@dataclass(frozen=True)
class Advanced:
    """How far that is: updates or images."""

    done: int
    total: int


@dataclass(frozen=True)
class Said:
    """A sentence for the user."""

    text: str


@dataclass(frozen=True)
class Left:
    """The last word of a worker that ends by itself: the signal that made it, if one did."""

    signal: int | None
