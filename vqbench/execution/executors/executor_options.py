"""The choice of an executor, with its options."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from vqbench.errors import UsageError, counted, nearest

EXECUTORS = ("local", "ray", "slurm")
MAX_PER_RUN = 10_000  # cores or GPUs
TORCH_LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"  # environment variable of torch's C++ part
ALWAYS_ALLOWED = 16  # processes that any machine may start, however few its cores


@dataclass(frozen=True)
class ExecutorOptions:
    """The choice of an executor, with the options that are its own."""

    executor: str = "local"
    address: str | None = None  # of the Ray cluster
    cpus: int | None = None  # per run on Ray
    gpus: float | None = None  # per run on Ray
    slurm: tuple[str, ...] = ()  # KEY=VALUE

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise UsageError(f"unknown executor {self.executor!r}; {nearest(self.executor, EXECUTORS)}")
        given: dict[str, Any] = {"--address": self.address, "--cpus-per-run": self.cpus, "--gpus-per-run": self.gpus}
        for option, value in given.items():
            if value is not None and self.executor != "ray":
                raise UsageError(f"{option} is for --executor ray")
            if isinstance(value, int | float) and not 0 <= value <= MAX_PER_RUN:
                raise UsageError(f"{option} {value}: not between 0 and {MAX_PER_RUN:,}")
        if self.slurm and self.executor != "slurm":
            raise UsageError("--slurm is for --executor slurm")

    def check(self, device: str, jobs: int | None, devices: int | None) -> None:
        """Check the options of ``run`` against this executor.

        Raises UsageError for more processes than this machine may start, and for options that mean nothing on a
        cluster.
        """
        if self.executor == "local":
            _require_processes(jobs, devices)
            return
        if devices is not None and devices > 1 and self.gpus and self.gpus < devices:
            raise UsageError(f"--gpus-per-run {self.gpus:g}: fewer than --devices {devices}; leave one of them out")
        if jobs is not None:
            raise UsageError(f"--jobs is for this machine; with --executor {self.executor} the cluster decides")
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"--device {device}: with --executor {self.executor} the cluster assigns the GPUs")


def _require_processes(jobs: int | None, devices: int | None) -> None:
    """Raise UsageError for more processes than this machine has cores.

    Up to :data:`ALWAYS_ALLOWED` are always allowed.
    """
    given = {"--jobs": jobs, "--devices": devices}
    limit, processes = max(ALWAYS_ALLOWED, cores()), math.prod(number or 1 for number in given.values())
    if processes > limit:
        options = " ".join(f"{option} {number}" for option, number in given.items() if number is not None)
        raise UsageError(
            f"{options}: {processes:,} processes at once, but {counted(cores(), 'core')} here; at most {limit}"
        )


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
