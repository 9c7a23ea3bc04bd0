"""The cost of runs: optimizer updates, and seconds of earlier such runs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeVar

from vqbench import registry
from vqbench.errors import VqbenchError
from vqbench.planning.plan import DatasetInfo, Length, Plan
from vqbench.spec import Job, PluginSpec, RunSpec
from vqbench.store.record_summary import RecordSummary
from vqbench.store.results import ResultStore

T = TypeVar("T")

# Seconds on two cores of a server, as measured with the small backbone: per update, per 32x32 image in it, and per run
# for its process and for evaluating some hundred images.
SMALL_BACKBONE = {"hidden": 64, "residual_hidden": 16}  # arguments of conv
UPDATE_SECONDS, IMAGE_SECONDS, RUN_SECONDS = 0.01, 0.0005, 8.0


def rough_seconds(updates: int, batch: int, size: int) -> float:
    """Estimate the seconds of a run with the small backbone on two CPU cores.

    Images are squares of ``size`` pixels, ``batch`` of them per update.
    """
    return updates * (UPDATE_SECONDS + IMAGE_SECONDS * batch * (size / 32) ** 2) + RUN_SECONDS


def rough_estimate(plan: Plan, run: RunSpec) -> float | None:
    """Estimate the seconds of ``run`` on two CPU cores before any was trained.

    None for other backbones than the small one, and for second stages, whose times were not measured.
    """
    batch, steps = run.recipe.args.get("batch_size"), updates(plan, run)
    small = run.backbone.name == "conv" and SMALL_BACKBONE.items() <= run.backbone.args.items()
    size = plan.image_size(run)
    known = small and run.parent is None and run.recipe.name == "autoencoder"
    return rough_seconds(steps, batch, size) if known and steps and batch and size else None


def length(recipe: PluginSpec, data: DatasetInfo) -> Length:
    """The length of a training by ``recipe`` on a data set of this size.

    Raises BrokenPlugin for a recipe that fails or returns something else than whole numbers.
    """
    trainer = registry.create("recipes", recipe.name, **recipe.args)
    with registry.contained("recipes", recipe.name):
        images = trainer.images(data.train, data.holdout)
        result = Length(trainer.updates(images), trainer.images_shown(images), trainer.about() or _arguments(recipe))
        for count in (images, result.updates, result.shown):
            if count is not None and type(count) is not int:
                raise TypeError(f"a number of images or updates is {count!r}, no whole number")
    return result


def updates_on(recipe: PluginSpec, data: PluginSpec) -> int | None:
    """Optimizer updates of a training by ``recipe`` on ``data``, if known."""
    with registry.contained("datasets", data.name):
        made = registry.create("datasets", data.name, **data.args)
        info = DatasetInfo(made.title, made.counts["train"], made.counts["test"], made.holdout)
    return length(recipe, info).updates


def _arguments(recipe: PluginSpec) -> str:
    """The arguments, for a recipe without a summary of its own."""
    return ", ".join(f"{name} {value}" for name, value in recipe.args.items() if value is not None)


def updates(plan: Plan, run: RunSpec) -> int | None:
    """Optimizer updates of one run of ``plan``; None if they are unknown."""
    return plan.length(run).updates


def updates_of(run: RunSpec, data: DatasetInfo) -> int | None:
    """Optimizer updates of any run, on a data set of this size.

    None if they are unknown, or the run can no longer be trained.
    """
    try:
        return length(run.recipe, data).updates
    except VqbenchError:  # of a plugin that is not at hand, or of another version
        return None


def kind(run: RunSpec) -> str:
    """Key of runs that take about as long.

    These have recipe, backbone, data set and quantizer in common.
    """
    parts = run.to_dict()
    return json.dumps([parts["recipe"], parts["backbone"], parts["dataset"], run.quantizer.name], sort_keys=True)


def once_by_parts(of: Callable[[RunSpec], T]) -> Callable[[RunSpec], T]:
    """Return ``of``, computed once for all runs that share their parts.

    It must depend on these alone. The runs of an index of records share them, so that a hundred thousand of them need a
    few results.
    """
    known: dict[tuple[int, ...], tuple[RunSpec, T]] = {}  # with a run, whose parts are then no other's

    def shared(run: RunSpec) -> T:
        at = id(run.recipe), id(run.backbone), id(run.dataset), id(run.quantizer)
        if at not in known:
            known[at] = run, of(run)
        return known[at][1]

    return shared


def median_seconds(records: Iterable[RecordSummary]) -> dict[str, float]:
    """Median seconds of training, by kind of run."""
    seconds: dict[str, list[float]] = {}
    kind_of = once_by_parts(kind)
    for record in records:
        seconds.setdefault(kind_of(record.run), []).append(record.seconds)
    return {kind: sorted(each)[len(each) // 2] for kind, each in seconds.items()}


def expected_seconds(plans: Sequence[Plan], records: Iterable[RecordSummary], jobs: Sequence[Job]) -> dict[str, float]:
    """Expected seconds of each job, by the key of its run.

    From the ``records`` of a store, these are the seconds that such runs took there, or those that their number of
    updates makes likely; infinite for runs without a known number. Of a trained run, which only lacks values, they are
    those of its evaluations so far.
    """
    stages = [(plan, run) for plan in plans for run in plan.runs()]
    steps = {run.key: updates(plan, run) or 0 for plan, run in stages}
    finished = {record.run.key: record for record in records}
    known = median_seconds(finished.values())
    rates = sorted(
        known[kind(job.run)] / steps[job.run.key] for job in jobs if kind(job.run) in known and steps[job.run.key]
    )
    rate = rates[len(rates) // 2] if rates else 1.0

    def seconds(run: RunSpec) -> float:
        if run.key in finished:
            return math.fsum(seconds for _, seconds in finished[run.key].measured)
        return known.get(kind(run), rate * steps[run.key] or math.inf)

    return {job.run.key: seconds(job.run) for job in jobs}


def cheapest_first(store: ResultStore, jobs: Sequence[Job], seconds: Mapping[str, float]) -> list[Job]:
    """Sort jobs by cost: trained runs, then begun ones, then the rest.

    Within each, by their expected ``seconds``; ties keep their order. Runs that build on others come after all
    that they may build on.
    """
    parents = {job.run.key: job.run.parent for job in jobs}

    def stage(key: str) -> int:
        parent = parents.get(key)
        return 0 if parent is None else 1 + stage(parent)

    def cost(job: Job) -> tuple[int, int, float]:
        run = job.run
        if run in store:
            return stage(run.key), 0, 0.0
        begun = (store.folder(run) / "last.pt").exists()
        return stage(run.key), 1 if begun else 2, seconds[run.key]

    return sorted(jobs, key=cost)
