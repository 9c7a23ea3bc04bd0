"""What runs cost: updates, from the suite; seconds, from what such runs took before."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence

from vqbench.planning.job import Job
from vqbench.planning.plan import DatasetInfo, Entry, Plan
from vqbench.spec import RunSpec
from vqbench.store import Record, ResultStore


def updates(plan: Plan, entry: Entry, run: RunSpec) -> int:
    """Optimizer updates of one run, which is a stage of ``entry``."""
    return updates_of(run, plan.datasets[entry.dataset])


def updates_of(run: RunSpec, data: DatasetInfo) -> int:
    """Optimizer updates of a run on a data set of this size."""
    args, pictures = run.recipe.args, pictures_of(run, data)
    if run.parent is not None:
        return args["steps"]
    if "steps" not in args:
        return math.ceil(pictures / args["batch_size"]) * args["epochs"]
    whole = pictures // args["batch_size"]  # recipes that count updates leave out what fills no batch
    first = args["steps"] if args["steps"] is not None else whole * args["epochs"]
    return first + args.get("refine_steps", 0)


def pictures_of(run: RunSpec, data: DatasetInfo) -> int:
    """Training pictures that a run on a data set of this size learns from."""
    args = run.recipe.args
    pictures = min(data.train, args.get("subset") or data.train)
    return pictures - (data.holdout if args.get("selection") == "holdout" else 0)


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
    their number of updates makes likely.
    """
    stages = [(plan, entry, run) for plan in plans for entry in plan.entries for run in entry.stages()]
    steps = {run.key: updates(plan, entry, run) for plan, entry, run in stages}
    known = took(store.records())
    rates = sorted(known[kind(job.run)] / steps[job.run.key] for job in jobs if kind(job.run) in known)
    rate = rates[len(rates) // 2] if rates else 1.0

    def cost(job: Job) -> tuple[bool, int, float]:
        run = job.run
        second = run.parent is not None
        if run in store:
            return second, 0, 0.0
        begun = (store.folder(run) / "last.pt").exists()
        return second, 1 if begun else 2, known.get(kind(run), rate * steps[run.key])

    return sorted(jobs, key=cost)
