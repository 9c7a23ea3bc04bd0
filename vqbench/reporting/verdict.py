"""Judge whether our value equals the printed one, by one rule for every cell.

REPRODUCED
    The printed value is within the tolerance of our mean over seeds; or, with two or more seeds, inside the 95 %
    t-interval of our mean, where that interval is no wider than the band of CLOSE.
CLOSE
    Not reproduced, but within three times the tolerance.
DIFFERS
    Further away, or our value is not a finite number.
NOT RUN
    A printed value exists but none of ours, because the run is missing or failed.
NOT COMPARABLE
    The two are different quantities, for a stated reason: a reduced run, FID from fewer than 2,048 images, another
    measuring protocol than that of the printed value, a metric without a tolerance. Also if the printed value is
    further away than CLOSE but inside an interval wider than that: such seeds scatter too much to decide. A training
    that differs by its precision alone (bf16, tf32) is comparable, and gets a footnote.

The tolerances and their reasons are in :mod:`vqbench.reporting.paper.tolerances`.
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
    """The kinds of verdict."""

    REPRODUCED = "REPRODUCED"
    CLOSE = "CLOSE"
    DIFFERS = "DIFFERS"
    NOT_RUN = "NOT RUN"
    NOT_COMPARABLE = "NOT COMPARABLE"


@dataclass(frozen=True)
class Verdict:
    """An outcome and its reason."""

    outcome: VerdictKind
    reason: str = ""


def judge(metric: str, values: Sequence[float], printed: str, not_comparable: str = "") -> Verdict:
    """Judge ``values`` (one per seed) of ``metric`` by the ``printed`` value."""
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
    """State the rule in two sentences, for below a table.

    ``metrics`` maps keys to labels, in the order of the columns.
    """
    known = ", ".join(f"{label} {TOLERANCES[key].shown}" for key, label in metrics.items() if key in TOLERANCES)
    return (
        "REPRODUCED: the printed value is within the tolerance of our mean, or, with two or more seeds, inside its "
        f"{_PERCENT} t-interval (if that is no wider than the band of CLOSE); CLOSE: within three tolerances; "
        "DIFFERS: further. "
        f"Tolerances, a convention of this project: {known or 'none'}."
    )


def order_verdict(a: ArrayLike, b: ArrayLike, better: Literal["min", "max"], resamples: int = 2000) -> float:
    """Return the share of resamples in which ``a`` beats ``b``, as the paper says.

    ``a`` and ``b`` are values per image per seed, (seeds, images), of the same images; see
    :func:`vqbench.reporting.statistics.paired_bootstrap` for what is paired, and for the size of the difference.
    """
    return statistics.paired_bootstrap(a, b, better, resamples).share
