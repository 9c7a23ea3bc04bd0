"""What passes between who hands out runs and who carries them out, be it one process or several."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from vqbench.spec import RunSpec

RequiredMetrics = dict[str, dict[str, tuple[int, int]]]  # protocol -> metric -> (metric's version, protocol's version)


@dataclass(frozen=True)
class Job:
    """One run, the numbers that it must have in the end, and whether an earlier failure is no reason to leave it."""

    run: RunSpec
    wanted: RequiredMetrics
    retry_failed: bool = False
    first: RunSpec | None = None  # the run that it builds on, which must be done before

    def __str__(self) -> str:
        run = self.run
        what = f"{run.recipe.name} on {run.quantizer.name}" if run.parent else run.quantizer.name
        return f"{what} on {run.dataset.name}, seed {run.seed} ({run.key})"


def take(queue: deque[Job], at_work: Iterable[Job]) -> Job | None:
    """Take from ``queue`` the first job that builds on no run of the queue, or of those at work; None if all do."""
    pending = {job.run.key for job in (*queue, *at_work)}
    for job in queue:
        if job.first is None or job.first.key not in pending:
            queue.remove(job)
            return job
    return None
