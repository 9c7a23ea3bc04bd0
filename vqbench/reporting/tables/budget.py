"""The budgets of runs, and the one definition of equal budgets.

Comparisons are fair where budgets are equal.

Rows of a block have an equal budget if their updates and their images seen in training equal the median of the block,
and their bits per image differ from it by at most 5 %. Rows without codes have no bits. A quantity that is unknown for
a row does not count against it.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, median_low
from typing import IO

from numpy.lib import format as npy

from vqbench.planning.plan import Plan, PlannedRun
from vqbench.spec import RunSpec
from vqbench.store.record import Record

BITS = "bits"  # the metric that measures a part of the budget
SHARE = 0.05  # of the median, by which bits per image may differ
COUNTS = "portrait.npz", "counts.npy"  # the file beside a record and its array of code counts: (depth, codes)
LARGER = 1.25  # a learned state above so many times the median is marked
QUANTITIES = {"updates": "updates", "images": "images seen", "bits": "bits per image"}
DEFINITION = (
    f"Equal budget: the same updates and images seen, bits per image within {100 * SHARE:g} % of the block's median."
)


@dataclass(frozen=True)
class Budget:
    """The budget of a run; None where unknown, or where nothing is quantized."""

    parameters: int | None  # that learn by gradient
    updates: int | None
    images: int | None  # seen in training, repetitions counted
    bits: float | None  # per image, with a uniform code
    state: int | None = None  # parameters and the buffers that training changed, such as an averaged codebook
    codes: int | None = None  # of one codebook


def budget_of(plan: Plan, entry: PlannedRun, run: RunSpec, record: Record | None, folder: Path | None) -> Budget:
    """Return the budget of ``run``, a stage of ``entry``, recorded in ``folder``."""
    length = plan.length(run)
    made = record.made if record else {}
    return Budget(
        made.get("parameters"),
        length.updates,
        length.shown,
        _bits(record),
        made.get("state"),
        _codes(entry, record, folder),
    )


def _bits(record: Record | None) -> float | None:
    """Return the bits that the training noted or, in old records, the measured ones."""
    if record is None:
        return None
    measured = [metrics[BITS].value for metrics in record.values.values() if BITS in metrics]
    known = [value for value in (record.made.get("bits"), *measured) if value is not None and math.isfinite(value)]
    return known[0] if known else None


def _codes(entry: PlannedRun, record: Record | None, folder: Path | None) -> int | None:
    """Return the size of one codebook, from the plan, the training or the snapshot."""
    if entry.codes is not None or record is None or folder is None:
        return entry.codes
    if "codes" in record.made:
        codes: int | None = record.made["codes"]
        return codes
    try:
        with zipfile.ZipFile(folder / COUNTS[0]) as archive, archive.open(COUNTS[1]) as counts:
            return _shape(counts)[-1]
    except (OSError, ValueError, KeyError, IndexError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None  # not kept, or damaged, which the page reports


def _shape(file: IO[bytes]) -> tuple[int, ...]:
    """Read the shape of the array in a .npy file without its values."""
    head = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    return head(file)[0]


def usual(budgets: Sequence[Budget], quantity: str) -> float | None:
    """Return the median of one of :data:`QUANTITIES` over a block's rows, or None."""
    known = [value for each in budgets if (value := getattr(each, quantity)) is not None]
    return median_low(known) if known else None


def differences(budget: Budget, budgets: Sequence[Budget]) -> dict[str, tuple[float, float]]:
    """Return the quantities in which ``budget`` differs from its block.

    By quantity: its own value and the usual one.
    """
    differing = {}
    for quantity in QUANTITIES:
        own, others = getattr(budget, quantity), usual(budgets, quantity)
        if own is None or others is None:
            continue
        if abs(own - others) > (SHARE * others if quantity == "bits" else 0):
            differing[quantity] = (own, others)
    return differing


def usual_state(budgets: Sequence[Budget]) -> float | None:
    """Return the median learned state of a block's rows; None where none is known."""
    known = [each.state for each in budgets if each.state is not None]
    return median(known) if known else None
