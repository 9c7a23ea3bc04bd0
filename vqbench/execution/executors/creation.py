"""The executor that the options of a command name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from vqbench.distributed.launching import launched
from vqbench.execution.executors.executor import Summary
from vqbench.execution.executors.executor_options import TORCH_LOG_LEVEL, ExecutorOptions
from vqbench.execution.messages import ProgressListener, RunSettings
from vqbench.execution.stopping import Stop
from vqbench.spec import Job


class JobExecutor(Protocol):
    """Carries out jobs, wherever that is."""

    def execute(self, jobs: Sequence[Job]) -> Summary:
        """Carry out all ``jobs``, or those until the executor is stopped."""


def create_executor(
    options: ExecutorOptions,
    folder: Path,
    settings: RunSettings,
    assets: Sequence[str],
    listener: ProgressListener,
    stop: Stop,
    workers: int | None = None,
    timeout: float | None = None,
) -> JobExecutor:
    """Create the executor that ``options`` name.

    Ranks that torchrun started carry out runs in this process.

    Args:
        options: The executor, and its own options.
        folder: The results folder, absolute.
        settings: How runs are carried out.
        assets: Data and weights that a node of a cluster must have.
        listener: Receives the progress of all runs.
        stop: When to stop early.
        workers: Local runs at once; 0: in this process; None: one per GPU, or one.
        timeout: Seconds that each run may take; None: no limit.
    """
    if settings.devices > 1:  # torch would warn on each rank that it searches for unused parameters, as it is set to
        os.environ.setdefault(TORCH_LOG_LEVEL, "ERROR")
    if options.executor == "ray":
        from vqbench.execution.executors.ray import RayExecutor

        return RayExecutor(folder, settings, options, assets, listener, stop, timeout)
    if workers == 0 or launched():
        from vqbench.execution.executors.inline import InlineExecutor

        return InlineExecutor(folder, settings, listener, stop)
    if options.executor == "slurm":
        from vqbench.execution.executors.slurm import SlurmExecutor

        return SlurmExecutor(folder, settings, options.slurm, listener, stop, timeout)
    from vqbench.execution.executors.local import LocalExecutor

    return LocalExecutor(folder, settings, listener, stop, workers, timeout)
