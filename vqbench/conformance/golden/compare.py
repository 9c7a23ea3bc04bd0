"""The golden check of ``vqbench doctor``: compare values with the kept ones.

Values are compared with ``golden.json``. Other instruction sets and thread counts of one machine change them by at most
5e-6. After a change that alters a value on purpose, ``python -m vqbench.conformance.golden`` rewrites the file; values
that need weights which are not in the cache stay as they are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal

import torch

from vqbench import assets
from vqbench.conformance.golden.values import GROUPS, ValueGroup, Values
from vqbench.errors import counted

FILE = "golden.json"
SMALL = 1e-3  # added to a kept value before a deviation is divided by it, since some values are 0


@dataclass(frozen=True)
class GroupResult:
    """The state of one group, and a sentence about it."""

    name: str
    state: Literal["PASS", "SKIP", "FAIL"]
    about: str


def check(kept: Mapping[str, Values] | None = None) -> list[GroupResult]:
    """Compare the values of every group with the ``kept`` values.

    By default these are the package's. Groups that need missing weights are skipped.

    """
    kept = kept_values() if kept is None else kept
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # inputs are small: on a busy machine, threads that wait for each other take minutes
    try:
        return [_compared(group, kept.get(group.name)) for group in GROUPS]
    finally:
        torch.set_num_threads(threads)


def _compared(group: ValueGroup, kept: Values | None) -> GroupResult:
    if group.asset and assets.state(group.asset) == "missing":
        return GroupResult(group.name, "SKIP", f"needs the weights {group.asset}; `vqbench prepare SUITE` fetches them")
    if kept is None:
        return GroupResult(group.name, "SKIP", "no values are kept to compare with")
    try:
        values = group.compute()
    except Exception as error:  # of any library: finding these is what the check is for
        return GroupResult(group.name, "FAIL", f"cannot be computed: {type(error).__name__}: {error}")
    if values.keys() != kept.keys():
        other = sorted(values.keys() ^ kept.keys())
        return GroupResult(group.name, "FAIL", f"not the kept values: {', '.join(other[:5])}")
    deviations = {name: _deviation(values[name], kept[name]) for name in kept}
    worst = max(deviations, key=lambda name: deviations[name])
    largest = f"largest deviation {deviations[worst]:.1e} ({worst}), tolerance {group.tolerance:.0e}"
    about = f"{counted(len(kept), 'value')}, {largest}"
    return GroupResult(group.name, "PASS" if deviations[worst] <= group.tolerance else "FAIL", about)


def _deviation(value: float, kept: float) -> float:
    deviation = abs(value - kept) / (abs(kept) + SMALL)
    return deviation if math.isfinite(deviation) else math.inf


def kept_values() -> dict[str, Values]:
    """Return the values that are kept in the package, by group."""
    kept: dict[str, Values] = json.loads(
        (resources.files("vqbench.conformance.golden") / FILE).read_text(encoding="utf-8")
    )
    return kept
