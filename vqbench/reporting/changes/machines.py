"""How far the values of equal runs differ that other machines trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean, median

from vqbench.reporting.changes.comparison import Change

MACHINES = "Equal runs that were trained on other machines, by metric:"
HEAD = ("metric", "runs", "mean", "median difference", "largest difference", "of")


@dataclass(frozen=True)
class MachineSpread:
    """The absolute differences of one metric over runs of other machines."""

    protocol: str
    metric: str
    runs: int
    mean: float  # of the values, for scale
    median: float
    largest: float
    largest_of: str  # the run with the largest difference


def spreads(changes: Iterable[Change]) -> list[MachineSpread]:
    """One entry per protocol and metric of runs that other machines trained.

    Values that are not finite differ by no number, and are left out.
    """
    groups: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        if change.elsewhere and isfinite(change.after - change.before):
            groups.setdefault((change.protocol, change.metric), []).append(change)
    return [_spread(protocol, metric, group) for (protocol, metric), group in groups.items()]


def _spread(protocol: str, metric: str, changes: Sequence[Change]) -> MachineSpread:
    by_change = {abs(change.after - change.before): change.what for change in changes}
    differences = [abs(change.after - change.before) for change in changes]
    mean = fmean(value for change in changes for value in (change.before, change.after))
    largest = max(by_change)
    return MachineSpread(protocol, metric, len(changes), mean, median(differences), largest, by_change[largest])


def spread_table(found: Sequence[MachineSpread], markdown: bool = False) -> str:
    """Print ``found``, as aligned text or in Markdown."""
    from tabulate import tabulate

    several = len({each.protocol for each in found}) > 1
    rows = [
        [
            f"{each.protocol}/{each.metric}" if several else each.metric,
            each.runs,
            *(f"{value:.3g}" for value in (each.mean, each.median, each.largest)),
            each.largest_of if each.largest else "–",
        ]
        for each in found
    ]
    return tabulate(rows, headers=HEAD, tablefmt="pipe" if markdown else "plain", disable_numparse=True)
