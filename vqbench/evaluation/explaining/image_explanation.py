"""Explain values of images, between protocols or by a printed number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from vqbench import registry
from vqbench.errors import counted
from vqbench.evaluation.explaining.named_conditions import named_conditions
from vqbench.evaluation.explaining.pair_changes import Fetch, image_metrics, plan
from vqbench.evaluation.explaining.protocol_differences import Explanation, ExplanationPlan, Number
from vqbench.evaluation.explaining.settings import Conditions, Inputs
from vqbench.evaluation.explaining.target import TargetPlan, TargetSearch
from vqbench.evaluation.explaining.values import ExplainedImages, Passes, distance_images, values_under
from vqbench.evaluation.image_pairs import chosen_metrics
from vqbench.protocol import MeasureProtocol
from vqbench.system.durations import approximate

SECONDS = {
    "inception_fid": 0.5,
    "vgg16_lpips": 1.2,
    "alexnet_lpips": 0.1,
    "efficientnet_lite0": 0.05,
}  # by weights, per pair of 256x256 on one core
ONE_SIZE = ("inception_fid", "efficientnet_lite0")  # networks that see all images at one size

Progress = Callable[[int, int], None]  # receives the images done and in all; may raise Interrupted
Say = Callable[[str], None]


def plan_of(
    inputs: Inputs, start: str, end: str, metrics: Sequence[str], fetch: Fetch, steps_only: bool = False
) -> ExplanationPlan:
    """Choose what to evaluate between two protocols, by name, with settings if any.

    ``metrics`` are names and one group at most; without any, those that need no network. With ``steps_only``, no
    setting alone. Raises UsageError for unknown names and a mix of groups.
    """
    chosen = chosen_metrics(metrics or None, with_codes=False, side=min(inputs.height, inputs.width))
    first, last = named_conditions(start, inputs), named_conditions(end, inputs)
    return plan(first, last, image_metrics(chosen), inputs, fetch, steps_only)


def explained(
    chosen: ExplanationPlan, images: ExplainedImages, device: torch.device, progress: Progress, say: Say
) -> Explanation:
    """Evaluate all that ``chosen`` wants, after its cost was said."""
    wanted = {under: names for under, names in chosen.wanted().items() if isinstance(under, Conditions)}
    if any(metric.assets(chosen.start) for metric in chosen.metrics.values()):
        say(cost(wanted, images.facts))
    total = Passes.of(wanted).work(images.facts)
    found = values_under(wanted, images, device, lambda done: progress(done, total))
    values: dict[MeasureProtocol, dict[str, Number]] = dict(found.items())
    facts = images.facts
    title = f"{counted(facts.images, 'pair')} of images, {facts.height}x{facts.width}"
    return Explanation(None, facts.images, chosen, values, title)


def searched(
    chosen: TargetPlan,
    images: ExplainedImages,
    device: torch.device,
    progress: Progress,
    say: Say = lambda sentence: None,
    pairs: bool = True,
) -> TargetSearch:
    """Evaluate the settings of ``chosen`` until its number is printed.

    What a network costs is said before it begins. ``pairs``: whether settings are tried in pairs, too.
    """
    stages = chosen.stages(pairs)
    work = [Passes.of(stage).work(images.facts) for stage in stages]
    if chosen.slow:
        say(_cost_of_stages(stages, images.facts))
    values: dict[Conditions, dict[str, Number]] = {}
    for number, stage in enumerate(stages):
        before, total = sum(work[:number]), sum(work[: max(2, number + 1)])
        if number == 2:
            say(f"no setting alone prints {chosen.target.text}: for pairs of settings {cost(stage, images.facts)}")
        values |= values_under(
            stage,
            images,
            device,
            lambda done, before=before, total=total: progress(before + done, total),  # type: ignore[misc]  # mypy infers no type of a lambda with defaults
        )
        if chosen.printed(values):
            break
    base = values[chosen.base][chosen.target.metric]
    return TargetSearch(chosen, images.facts, base, chosen.ranked(values), images.available, pairs)


def _cost_of_stages(stages: Sequence[dict[Conditions, list[str]]], inputs: Inputs) -> str:
    said = cost({under: names for stage in stages[:2] for under, names in stage.items()}, inputs)
    if len(stages) < 3:
        return said
    return f"{said}; only if no setting alone prints the number, for pairs of settings {cost(stages[2], inputs)}"


def cost(wanted: Mapping[Conditions, Sequence[str]], inputs: Inputs) -> str:
    """Say how often images go through a network, and about how long it takes."""
    families = [family for part in Passes.of(wanted).families for family in part]
    larger = inputs.height * inputs.width / 256**2  # times as many pixels
    distances = (distance_images(name, under) for under, names in wanted.items() for name in names)
    seconds = SECONDS["inception_fid"] * sum(distances)
    passes = 0
    labels: dict[str, None] = {}
    for family in families:
        classes = {name: registry.load("metrics", name) for name in family.names}
        networks = {each: name for name, metric in classes.items() for each in metric.assets(family.measured)}
        labels |= {classes[name].label: None for name in networks.values()}
        for network in networks:
            images = inputs.images + (inputs.references or 0) / 2 * bool(family.compared)
            seconds += SECONDS.get(network, 1.0) * images * (1 if network in ONE_SIZE else larger)
            passes += 1
    shown = " and ".join(labels)
    return (
        f"{counted(inputs.images, 'pair')} go through the network of {shown} {counted(passes, 'time')}, about "
        f"{approximate(seconds)} on one core"
    )
