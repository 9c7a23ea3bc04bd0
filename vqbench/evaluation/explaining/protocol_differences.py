"""Settings that differ between two protocols, changed one by one: their effects.

Without torch, so that reports can read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vqbench.errors import RunError
from vqbench.protocol import MeasureProtocol
from vqbench.spec import RunSpec

if TYPE_CHECKING:
    from vqbench.metric import Metric

Number = float | None  # None where a metric is undefined for such a run


@dataclass(frozen=True)
class SettingChange:
    """One knob set from its value under ``start`` to that under ``under``."""

    knob: str
    start: MeasureProtocol
    under: MeasureProtocol
    metrics: tuple[str, ...]  # those that the knob can move

    @property
    def title(self) -> str:
        return f"{self.knob} {word(getattr(self.start, self.knob))} → {word(getattr(self.under, self.knob))}"


@dataclass(frozen=True)
class ExplanationPlan:
    """What to measure to explain the difference between two protocols."""

    start: MeasureProtocol
    end: MeasureProtocol
    metrics: Mapping[str, type[Metric]]
    cumulative: Sequence[SettingChange]  # one after the other, from ``start`` to ``end``
    alone: Sequence[SettingChange]  # each from ``start``
    left_out: Sequence[str]  # why other settings are not changed, a sentence each

    def wanted(self) -> dict[MeasureProtocol, list[str]]:
        """Return the metrics needed by protocol; all of them under both ends."""
        wanted = {self.start: list(self.metrics), self.end: list(self.metrics)}
        for setting in (*self.cumulative, *self.alone):
            names = wanted.setdefault(setting.under, [])
            names += [name for name in setting.metrics if name not in names]
        return wanted


@dataclass(frozen=True)
class MetricChange:
    """The effect of a changed setting on one metric."""

    setting: SettingChange
    before: Number
    after: Number

    @property
    def difference(self) -> Number:
        return difference(self.before, self.after)


@dataclass(frozen=True)
class Explanation:
    """The measured values of ``run``, or of images without a run."""

    run: RunSpec | None
    images: int
    plan: ExplanationPlan
    values: Mapping[MeasureProtocol, Mapping[str, Number]]  # protocol -> metric -> value
    title: str = ""  # of what was measured, where it is no run

    def __post_init__(self) -> None:
        """Check that the knobs of every metric lead from the start to its end value.

        Raises RunError otherwise.
        """
        for name in self.plan.metrics:
            *_, last = self.start(name), *(change.after for change in self.cumulative(name))
            end = self.end(name)
            if last != end and not _close(last, end):
                raise RunError(
                    f"metric {name!r} is {last} after the knobs that it names and {end} under {self.plan.end.name!r}: "
                    "a setting moves it that its `knobs` lack"
                )

    def start(self, name: str) -> Number:
        """Return the value of the metric ``name`` under the first protocol."""
        return self.values[self.plan.start][name]

    def end(self, name: str) -> Number:
        """Return the value of the metric ``name`` under the last protocol."""
        return self.values[self.plan.end][name]

    def cumulative(self, name: str) -> Iterator[MetricChange]:
        """Yield the effect on ``name`` of each setting that can move it, in turn."""
        before = self.start(name)
        for setting in self.plan.cumulative:
            if name in setting.metrics:
                yield MetricChange(setting, before, self.values[setting.under][name])
                before = self.values[setting.under][name]

    def alone(self, name: str) -> Iterator[MetricChange]:
        """Yield the effect on ``name`` of each setting that can move it, alone."""
        for setting in self.plan.alone:
            if name in setting.metrics:
                yield MetricChange(setting, self.start(name), self.values[setting.under][name])


def difference(before: Number, after: Number) -> Number:
    """Return after − before; None where a value is missing or infinite."""
    if before is None or after is None or not (math.isfinite(before) and math.isfinite(after)):
        return None
    return after - before


def _close(one: Number, other: Number) -> bool:
    """Return whether two values are equal up to rounding, as a GPU may round."""
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-9)


def word(value: Any) -> str:
    """Format the value of a setting; None is "none"."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower()
