"""Jobs: the runs to carry out, and the order in which they may start."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from vqbench.spec import RunSpec

RequiredMetrics = dict[str, dict[str, tuple[int, int]]]  # protocol -> metric -> (metric's version, protocol's version)


@dataclass(frozen=True)
class Job:
    """A run to carry out, with the metrics that its record must hold at the end."""

    run: RunSpec
    required: RequiredMetrics
    retry_failed: bool = False  # whether to try again a run that failed earlier
    first_stage: RunSpec | None = None  # of a second stage: the run that must be done before

    def __str__(self) -> str:
        run = self.run
        what = f"{run.recipe.name} on {run.quantizer.name}" if run.parent else run.quantizer.name
        return f"{what} on {run.dataset.name}, seed {run.seed} ({run.key})"


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
