"""Find the settings under which a metric prints a given number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from itertools import combinations
from typing import TYPE_CHECKING, Any

from vqbench.errors import AssetError, UsageError, shortened
from vqbench.evaluation.explaining.pair_changes import Fetch, image_metrics, require_measurable
from vqbench.evaluation.explaining.settings import (
    NOT_TRIED,
    SETTINGS,
    Conditions,
    Inputs,
    changed,
    given,
    moves,
    obstacle,
    values_of,
)

if TYPE_CHECKING:
    from vqbench.evaluation.explaining.protocol_differences import Number
    from vqbench.metric import Metric

RANGES: Mapping[str, tuple[float, float]] = {  # of metrics, by name; others are unlimited
    "l1": (0, 1),
    "psnr": (0, math.inf),
    "ssim": (-1, 1),
    "lpips": (0, math.inf),
    "rfid": (0, math.inf),
}


@dataclass(frozen=True)
class Target:
    """A number as it was printed, whose decimals say how exact it is."""

    metric: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """Parse ``psnr=29.62``. Raises UsageError."""
        metric, equals, number = text.partition("=")
        try:
            finite = Decimal(number).is_finite()
        except InvalidOperation:
            finite = False
        if not equals or not metric or not finite:
            raise UsageError(f"--target {shortened(text)!r}: write METRIC=NUMBER as it was printed, such as psnr=29.62")
        return cls(metric, number)

    @property
    def value(self) -> float:
        return float(self.text)

    @property
    def digits(self) -> int:
        """Decimals of the printed number."""
        exponent = Decimal(self.text).as_tuple().exponent
        return max(0, -exponent) if isinstance(exponent, int) else 0

    def shown(self, value: float) -> str:
        """Print ``value`` with as many decimals."""
        return f"{value:z.{self.digits}f}"

    def printed_by(self, value: Number) -> bool:
        """Return whether ``value`` prints the same digits."""
        return value is not None and math.isfinite(value) and self.shown(value) == self.shown(self.value)

    def outside(self) -> str:
        """Return a clause if no value of the metric is this number, or empty."""
        low, high = RANGES.get(self.metric, (-math.inf, math.inf))
        if low <= self.value <= high:
            return ""
        between = f"from {low:g} to {high:g}" if high < math.inf else f"{low:g} or more"
        return f"its values are {between}, so no setting prints {self.text}"


@dataclass(frozen=True)
class Candidate:
    """Settings that differ from the base, and the value under them."""

    settings: Mapping[str, Any]
    value: Number

    def distance(self, target: Target) -> float:
        """Return how far the value is from the target."""
        return math.inf if self.value is None else abs(self.value - target.value)


@dataclass(frozen=True)
class TargetPlan:
    """All settings to try, alone and in pairs."""

    target: Target
    base: Conditions
    metric: type[Metric]
    tried: Mapping[Conditions, Mapping[str, Any]]  # conditions -> the settings in which they differ from ``base``
    left_out: list[str]

    @property
    def slow(self) -> bool:
        """Whether each setting is a pass of a network."""
        return bool(self.metric.assets(self.base))

    def stages(self, pairs: bool = True) -> list[dict[Conditions, list[str]]]:
        """Return what to evaluate, conditions -> metrics, until the number is printed.

        A metric of pixels has one stage. One of a network has three, since each setting takes minutes: the base,
        settings alone, and ``pairs``.
        """
        alone = [under for under, settings in self.tried.items() if len(settings) == 1]
        together = [under for under, settings in self.tried.items() if len(settings) > 1] if pairs else []
        stages = [[self.base], alone, together] if self.slow else [[self.base, *alone, *together]]
        if self.target.outside():
            stages = [[self.base]]
        return [{under: [self.target.metric] for under in stage} for stage in stages if stage]

    def printed(self, values: Mapping[Conditions, Mapping[str, Number]]) -> bool:
        """Return whether any of the ``values`` prints the target's digits."""
        return any(self.target.printed_by(of[self.target.metric]) for of in values.values())

    def ranked(self, values: Mapping[Conditions, Mapping[str, Number]]) -> list[Candidate]:
        """Order all candidates that have a value.

        Those that print the target's digits come first, among these those of fewest settings; then by distance.
        """
        target = self.target
        found = [
            Candidate(settings, values[under][target.metric])
            for under, settings in self.tried.items()
            if under in values
        ]

        def order(candidate: Candidate) -> tuple[bool, int, float, int]:
            same, count = target.printed_by(candidate.value), len(candidate.settings)
            return not same, count if same else 0, candidate.distance(target), count

        return sorted(found, key=order)


@dataclass(frozen=True)
class TargetSearch:
    """What was searched, and all candidates, nearest first."""

    plan: TargetPlan
    inputs: Inputs
    base: Number
    candidates: Sequence[Candidate]
    available: int  # images, of which ``inputs.images`` were evaluated
    pairs: bool = True  # whether pairs of settings were to be tried

    @property
    def untried(self) -> int:
        """The number of combinations without a value."""
        return len(self.plan.tried) - len(self.candidates)

    @property
    def same(self) -> list[Candidate]:
        """The candidates that print the target's digits."""
        return [each for each in self.candidates if self.plan.target.printed_by(each.value)]


def target_plan(target: Target, base: Conditions, inputs: Inputs, fetch: Fetch) -> TargetPlan:
    """List the settings that can move the target's metric on these images.

    Raises UsageError for a metric that originals and reconstructions do not have.
    """
    metric = image_metrics([target.metric])[target.metric]
    require_measurable({target.metric: metric}, [base], inputs)
    fetch(metric.assets(base))
    left_out: dict[str, None] = {}
    single: list[tuple[str, Any]] = []
    for setting in SETTINGS.values():
        if not moves(setting.knob, metric):
            continue
        for value in values_of(setting, inputs):
            if given(setting.knob, value, base):
                continue
            reason = obstacle(setting.knob, value, base, inputs) or _missing(metric, setting.knob, value, base, fetch)
            if reason and not (setting.knob == "pixels" and base.jpeg is not None):
                left_out[reason] = None
            else:
                single.append((setting.knob, value))
    tried: dict[Conditions, dict[str, Any]] = {}
    for settings in _combined(single):
        if not _idle(settings, base, inputs):
            tried.setdefault(changed(base, settings), settings)
    left_out |= dict.fromkeys(sentence for sentence, moved in NOT_TRIED.items() if target.metric in moved)
    return TargetPlan(target, base, metric, tried, list(left_out))


def _combined(single: list[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield each setting alone, then every two of different names."""
    yield from ({knob: value} for knob, value in single)
    yield from ({one[0]: one[1], two[0]: two[1]} for one, two in combinations(single, 2) if one[0] != two[0])


def _idle(settings: Mapping[str, Any], base: Conditions, inputs: Inputs) -> bool:
    """Return whether settings contradict each other, or change nothing."""
    jpeg = settings.get("jpeg", base.jpeg)
    if "fid_input" in settings and given(
        "fid_input", settings["fid_input"], replace(changed(base, settings), fid_input=None)
    ):
        return True
    pixels = settings.get("pixels")
    return (pixels == "float" and jpeg is not None) or (pixels == "round" and jpeg is None and inputs.eight_bits)


def _missing(metric: type[Metric], knob: str, value: Any, base: Conditions, fetch: Fetch) -> str:
    """Return why the weights for a setting are missing, or empty."""
    try:
        fetch(metric.assets(changed(base, {knob: value})))
    except AssetError as error:
        return f"{knob} cannot be {value}: {error}"
    return ""
