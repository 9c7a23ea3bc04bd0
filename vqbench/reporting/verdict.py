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

The paper prints one run a cell and no spread, so nothing says how far a faithful second run may land. The tolerances
are therefore a convention of this project. They scale with the printed value, because 0.0005 is little for an l1 of
CIFAR10 and much for one of MNIST, and each is chosen so that three tolerances are smaller than the distance between
VQ-VAE and CVQ-VAE in table B.1, on either data set, or, of usage, that between VQGAN and CVQ-VAE in table B.2: no
result can be CLOSE to both ends of the paper's claim.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from numpy.typing import ArrayLike

from vqbench.reporting import statistics

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


@dataclass(frozen=True)
class Tolerance:
    """How far from the printed value still counts as the same: ``size``, of the ``scale``."""

    size: float
    scale: Literal["absolute", "printed", "one minus printed"]
    shown: str  # for a legend
    reason: str

    def around(self, printed: float) -> float:
        """In the metric's own unit."""
        scales = {"absolute": 1.0, "printed": abs(printed), "one minus printed": abs(1 - printed)}
        return self.size * scales[self.scale]


TOLERANCES: Mapping[str, Tolerance] = {
    "l1": Tolerance(
        0.025, "printed", "2.5 %", "0.0005 at 0.0207; VQ-VAE to CVQ-VAE is 13 % on MNIST and 15 % on CIFAR10"
    ),
    "ssim": Tolerance(
        0.05, "one minus printed", "5 % of 1 − SSIM", "what is lost, not what is kept; VQ-VAE to CVQ-VAE is 25 and 27 %"
    ),
    "psnr": Tolerance(
        0.2, "absolute", "0.2 dB", "a ratio already, and what 2.5 % of l1 amount to; VQ-VAE to CVQ-VAE is 1.4 dB"
    ),
    "lpips": Tolerance(0.05, "printed", "5 %", "VQ-VAE to CVQ-VAE is 21 % on MNIST and 25 % on CIFAR10"),
    "usage": Tolerance(
        3, "absolute", "3 points", "of a hundred; VQGAN to CVQ-VAE is 58 on FFHQ and 56 on ImageNet, in table B.2"
    ),
    "rfid": Tolerance(
        0.1, "printed", "10 %", "moves most between seeds and between resizers; VQ-VAE to CVQ-VAE is 48 and 38 %"
    ),
}


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
