"""Does our number say the same as the printed one? One rule, stated here, for every cell.

REPRODUCED
    The printed value is within the tolerance of our mean over seeds; or, with two or more seeds, inside the 95 %
    t-interval of our mean, where that interval is no wider than the band of CLOSE.
CLOSE
    Not reproduced, but within three times the tolerance.
DIFFERS
    Further away, or our value is not a finite number.
NOT RUN
    There is a printed value and none of ours, because the run is missing or failed.
NOT COMPARABLE
    The two are not the same quantity, with the reason: a reduced run, FID from fewer than 2,048 images, another
    measuring protocol than the printed value's, no tolerance for the metric. Also where the printed value lies further
    away than CLOSE but inside an interval wider than that: seeds that scatter so much decide nothing.

:mod:`vqbench.reporting.paper.tolerances` has the tolerances and why they are so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from numpy.typing import ArrayLike

from vqbench.reporting import statistics
from vqbench.reporting.paper.tolerances import TOLERANCES

CLOSE_FACTOR = 3
CONFIDENCE = 0.95
_PERCENT = f"{100 * CONFIDENCE:g} %"


class VerdictKind(StrEnum):
    """The five verdicts."""

    REPRODUCED = "REPRODUCED"
    CLOSE = "CLOSE"
    DIFFERS = "DIFFERS"
    NOT_RUN = "NOT RUN"
    NOT_COMPARABLE = "NOT COMPARABLE"


@dataclass(frozen=True)
class Verdict:
    """An outcome and why."""

    outcome: VerdictKind
    reason: str = ""


def judge(metric: str, values: Sequence[float], printed: str, not_comparable: str = "") -> Verdict:
    """The verdict, by the rule above, on ``values`` (one a seed) of ``metric`` beside the ``printed`` value."""
    if not values:
        return Verdict(VerdictKind.NOT_RUN)
    if not_comparable:
        return Verdict(VerdictKind.NOT_COMPARABLE, not_comparable)
    if metric not in TOLERANCES:
        return Verdict(VerdictKind.NOT_COMPARABLE, f"no tolerance is stated for {metric}")
    return _judge_comparable(values, float(printed), TOLERANCES[metric].around(float(printed)))


def _judge_comparable(values: Sequence[float], printed: float, tolerance: float) -> Verdict:
    spread = statistics.deviation(values)
    distance = abs(statistics.mean(values) - printed)
    # Differences such as 0.0212 - 0.0207 carry a binary rounding error; a value on the edge counts as inside.
    if distance <= tolerance * (1 + 1e-9):
        return Verdict(VerdictKind.REPRODUCED, "within the tolerance")
    inside, half = False, 0.0
    if spread is not None:
        low, high = statistics.t_interval(values, CONFIDENCE)
        inside, half = low <= printed <= high, (high - low) / 2
    band = CLOSE_FACTOR * tolerance * (1 + 1e-9)
    if inside and half <= band:
        return Verdict(VerdictKind.REPRODUCED, f"inside the {_PERCENT} interval of {len(values)} seeds")
    if distance <= band:
        return Verdict(VerdictKind.CLOSE, "within three tolerances")
    if inside:
        return Verdict(
            VerdictKind.NOT_COMPARABLE,
            f"{len(values)} seeds scatter too much to decide: their {_PERCENT} interval is ±{half:.2g}",
        )
    return Verdict(VerdictKind.DIFFERS, "further than three tolerances")


def legend(metrics: Mapping[str, str]) -> str:
    """The rule in two sentences for below a table; ``metrics`` maps keys to labels, in the order of the columns."""
    known = ", ".join(f"{label} {TOLERANCES[key].shown}" for key, label in metrics.items() if key in TOLERANCES)
    return (
        "REPRODUCED: the printed value is within the tolerance of our mean, or, with two or more seeds, inside its "
        f"{_PERCENT} t-interval (if that is no wider than the band of CLOSE); CLOSE: within three tolerances; "
        "DIFFERS: further. "
        f"Tolerances, a convention of this project: {known or 'none'}."
    )


def order_verdict(a: ArrayLike, b: ArrayLike, better: Literal["min", "max"], resamples: int = 2000) -> float:
    """Does ``a`` still beat ``b``, as the paper says? The share of paired bootstrap resamples in which it does.

    ``a`` and ``b`` are values per image per seed, (seeds, images), of the same images; see
    :func:`vqbench.reporting.statistics.paired_bootstrap` for what is paired, and for the size of the difference.
    """
    return statistics.paired_bootstrap(a, b, better, resamples).share
