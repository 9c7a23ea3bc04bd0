"""Where a suite is carried out, as the command line says it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from vqbench.errors import UsageError, counted, nearest

EXECUTORS = ("local", "ray", "slurm")
MOST_OF_A_RUN = 10_000  # cores or GPUs
ALWAYS = 16  # processes that any machine may start


@dataclass(frozen=True)
class ExecutorOptions:
    """Processes of this machine, a Ray cluster or a Slurm cluster; the rest is for the cluster that it names."""

    executor: str = "local"
    address: str | None = None  # of the Ray cluster
    cpus: int | None = None  # of one run on Ray
    gpus: float | None = None
    slurm: tuple[str, ...] = ()  # KEY=VALUE

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise UsageError(f"unknown executor {self.executor!r}; {nearest(self.executor, EXECUTORS)}")
        given: dict[str, Any] = {"--address": self.address, "--cpus-per-run": self.cpus, "--gpus-per-run": self.gpus}
        for option, value in given.items():
            if value is not None and self.executor != "ray":
                raise UsageError(f"{option} is for --executor ray")
            if isinstance(value, int | float) and not 0 <= value <= MOST_OF_A_RUN:
                raise UsageError(f"{option} {value}: not between 0 and {MOST_OF_A_RUN:,}")
        if self.slurm and self.executor != "slurm":
            raise UsageError("--slurm is for --executor slurm")

    def check(self, device: str, places: int | None, devices: int | None) -> None:
        """Raises UsageError for options of this machine that mean nothing on a cluster."""
        if self.executor == "local":
            _require_processes(places, devices)
            return
        if self.executor == "ray" and (devices or 1) > 1:
            raise UsageError("--devices: with --executor ray a run has one device; Slurm and torchrun give it several")
        if places is not None:
            raise UsageError(f"--places is of this machine; with --executor {self.executor} the cluster says how many")
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--device {device}: with --executor {self.executor} the cluster gives out the GPUs")


def _require_processes(places: int | None, devices: int | None) -> None:
    """Raises UsageError for more processes than this machine has cores, or :data:`ALWAYS` where these are few."""
    asked = {"--places": places, "--devices": devices}
    most, wanted = max(ALWAYS, cores()), math.prod(number or 1 for number in asked.values())
    if wanted > most:
        options = " ".join(f"{option} {number}" for option, number in asked.items() if number is not None)
        raise UsageError(
            f"{options}: {wanted:,} processes at once, but {counted(cores(), 'core')} here; at most {most}"
        )


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
