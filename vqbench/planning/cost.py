"""What runs cost: updates, from the suite; seconds, from what such runs took before."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from vqbench.errors import VqbenchError
from vqbench.planning.jobs import Job
from vqbench.planning.length import length
from vqbench.planning.plan import DatasetInfo, Plan
from vqbench.spec import RunSpec
from vqbench.store.record import Record
from vqbench.store.results import ResultStore


def updates(plan: Plan, run: RunSpec) -> int | None:
    """Optimizer updates of one run of ``plan``; None where its recipe cannot say."""
    return plan.length(run).updates


def updates_of(run: RunSpec, data: DatasetInfo) -> int | None:
    """Likewise of any run, on a data set of this size; None, too, for one that can no longer be made."""
    try:
        return length(run.recipe, data).updates
    except VqbenchError:  # of a plugin that is not at hand, or of another version
        return None


def kind(run: RunSpec) -> str:
    """What runs have in common that take about as long: recipe, backbone, data set and quantizer."""
    parts = run.to_dict()
    return json.dumps([parts["recipe"], parts["backbone"], parts["dataset"], run.quantizer.name], sort_keys=True)


def took(records: Iterable[Record]) -> dict[str, float]:
    """Median seconds of a store's runs, by kind."""
    seconds: dict[str, list[float]] = {}
    for record in records:
        seconds.setdefault(kind(record.run), []).append(record.made["seconds"])
    return {kind: sorted(each)[len(each) // 2] for kind, each in seconds.items()}


def cheapest_first(plans: Sequence[Plan], store: ResultStore, jobs: list[Job]) -> list[Job]:
    """Trained runs first, then those that were begun, then the rest; each by what they cost, ties in the suites' order.

    Second stages come after all that they may build on. A cost is the seconds that such runs took here, or as many as
    their number of updates makes likely; runs that cannot say how many come last.
    """
    stages = [(plan, run) for plan in plans for run in plan.runs()]
    steps = {run.key: updates(plan, run) or 0 for plan, run in stages}
    known = took(store.records())
    rates = sorted(
        known[kind(job.run)] / steps[job.run.key] for job in jobs if kind(job.run) in known and steps[job.run.key]
    )
    rate = rates[len(rates) // 2] if rates else 1.0

    def cost(job: Job) -> tuple[bool, int, float]:
        run = job.run
        second = run.parent is not None
        if run in store:
            return second, 0, 0.0
        begun = (store.folder(run) / "last.pt").exists()
        return second, 1 if begun else 2, known.get(kind(run), rate * steps[run.key] or math.inf)

    return sorted(jobs, key=cost)
