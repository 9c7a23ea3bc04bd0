"""Choose what to evaluate between two protocols on given images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from vqbench import registry
from vqbench.errors import AssetError, RunError, UsageError
from vqbench.evaluation.explaining.protocol_differences import ExplanationPlan, SettingChange
from vqbench.evaluation.explaining.settings import (
    NOT_TRIED,
    SETTINGS,
    Conditions,
    Inputs,
    changed,
    conditions,
    given,
    moves,
    obstacle,
    values_of,
)
from vqbench.protocol import MeasureProtocol

if TYPE_CHECKING:
    from vqbench.metric import Metric

Fetch = Callable[[Iterable[str]], object]  # fetches assets by name; raises AssetError


def differing(start: MeasureProtocol, end: MeasureProtocol) -> list[str]:
    """List the settings in which two protocols differ, in a possible order.

    A JPEG needs pixels of 8 bits, so it goes before they do and comes after they came.
    """
    skipped = ("name", "summary", "VERSION")
    knobs = [f.name for f in fields(start) if f.name not in skipped and getattr(start, f.name) != getattr(end, f.name)]
    first = "jpeg" if end.jpeg is None else "pixels"
    return sorted(knobs, key=lambda knob: knob != first)


def plan(
    start: MeasureProtocol,
    end: MeasureProtocol,
    classes: Mapping[str, type[Metric]],
    inputs: Inputs,
    fetch: Fetch,
    steps_only: bool = False,
) -> ExplanationPlan:
    """Choose what to evaluate: settings in turn, then each alone.

    With ``steps_only``, none alone.

    Raises RunError for images that are too few or too small for a metric, and AssetError for weights that cannot be
    had.
    """
    version = start.VERSION + end.VERSION  # another one whenever either is raised, as features are cached by it
    given_ends = (each if isinstance(each, Conditions) else conditions(each, inputs) for each in (start, end))
    first, last = (replace(each, VERSION=version) for each in given_ends)
    require_measurable(classes, (first, last), inputs)
    fetch([asset for metric in classes.values() for under in (first, last) for asset in metric.assets(under)])
    left_out: dict[str, None] = {}  # a set that keeps the order
    idle: dict[str, None] = {}  # settings that move none of the metrics

    def change(knob: str, value: Any, before: Conditions, under: Conditions) -> Iterator[SettingChange]:
        moved = tuple(name for name, metric in classes.items() if moves(knob, metric))
        reason = _reason(knob, before, value, under, inputs, [classes[name] for name in moved], fetch)
        if not moved:
            idle[knob] = None
        elif reason:
            left_out[reason] = None
        else:
            yield SettingChange(knob, before, under, moved)

    knobs = differing(first, last)
    way = [first]
    for knob in knobs:
        way.append(replace(changed(way[-1], {knob: getattr(last, knob)}), **{knob: getattr(last, knob)}))
    way[1:] = [*way[1:-1], last] if knobs else []
    steps = zip(knobs, way, way[1:], strict=False)
    cumulative = [each for knob, before, under in steps for each in change(knob, getattr(under, knob), before, under)]
    alone = [
        each
        for setting in (() if steps_only else SETTINGS.values())
        for value in values_of(setting, inputs)
        if not given(setting.knob, value, first)
        for each in change(setting.knob, value, first, changed(first, {setting.knob: value}))
    ]
    not_tried = [sentence for sentence, moved in NOT_TRIED.items() if any(name in classes for name in moved)]
    others = [f"no effect on these metrics: {', '.join(idle)}"] if idle else []
    return ExplanationPlan(first, last, classes, cumulative, alone, [*left_out, *not_tried, *others])


def image_metrics(names: Sequence[str]) -> dict[str, type[Metric]]:
    """Return the classes of metrics.

    Raises UsageError for one that originals and reconstructions do not have.
    """
    classes: dict[str, type[Metric]] = {name: registry.load("metrics", name) for name in names}
    for name, metric in classes.items():
        if metric.of_samples or metric.needs_codes or metric.needs_model or not metric.knobs:
            raise UsageError(f"metric {name!r} is not one of originals and reconstructions alone; leave it out")
    return classes


def require_measurable(classes: Mapping[str, type[Metric]], ends: Sequence[Conditions], inputs: Inputs) -> None:
    """Raise RunError for images that are too few or too small for a metric."""
    side = min(inputs.height, inputs.width)
    for metric in classes.values():
        if inputs.images < metric.fewest:
            raise RunError(f"{metric.label} needs at least {metric.fewest} images, and was given {inputs.images}")
        if metric.of_sets and inputs.references is not None and inputs.references < metric.fewest:
            raise RunError(f"{metric.label} needs at least {metric.fewest} images to compare with: --other-reference")
        if side < (smallest := max(metric.smallest(under) for under in ends)):
            raise RunError(f"{metric.label} needs images of at least {smallest}x{smallest} pixels; leave it out")


def _reason(
    knob: str,
    before: Conditions,
    value: Any,
    under: Conditions,
    inputs: Inputs,
    metrics: Sequence[type[Metric]],
    fetch: Fetch,
) -> str:
    """Return why a setting that moves ``metrics`` cannot be changed, or empty."""
    if reason := obstacle(knob, value, before, inputs):
        return reason
    try:
        fetch([asset for metric in metrics for asset in metric.assets(under)])
    except AssetError as error:
        return f"{knob} cannot be {value}: {error}"
    return ""
