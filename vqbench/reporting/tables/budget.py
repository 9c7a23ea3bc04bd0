"""What a run was given, and the one definition of an equal budget: comparisons are fair where budgets are equal.

Rows of a block have an equal budget where their updates and the images that they saw in training are equal, and their
bits per image within 5 %; what they are held against is the median of the block's rows. Rows without codes have no
bits. What is not known of a row is not held against it.
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
SHARE = 0.05  # by which bits per image may differ from the median
COUNTS = "portrait.npz", "counts.npy"  # the file beside a record, and what in it counts codes: (depth, codes)
LARGER = 1.25  # times the median: a learned state above it is marked
QUANTITIES = {"updates": "updates", "images": "images seen", "bits": "bits per image"}
DEFINITION = (
    f"An equal budget: updates and images seen equal, bits per image within {100 * SHARE:g} % (of the block's median)."
)


@dataclass(frozen=True)
class Budget:
    """What a run was given. None where it is not known, or where nothing is quantized."""

    parameters: int | None  # that learn by gradient
    updates: int | None
    images: int | None  # seen in training, repetitions counted
    bits: float | None  # an image, at a uniform code
    state: int | None = None  # parameters and the buffers that training changed, such as an averaged codebook
    codes: int | None = None  # of one codebook


def budget_of(plan: Plan, entry: PlannedRun, run: RunSpec, record: Record | None, folder: Path | None) -> Budget:
    """The budget of ``run``, a stage of ``entry``; ``folder`` is where its record was found."""
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
    """As the training noted them or, in records before that, as they were measured."""
    if record is None:
        return None
    measured = [metrics[BITS].value for metrics in record.values.values() if BITS in metrics]
    known = [value for value in (record.made.get("bits"), *measured) if value is not None and math.isfinite(value)]
    return known[0] if known else None


def _codes(entry: PlannedRun, record: Record | None, folder: Path | None) -> int | None:
    """The size of one codebook: as the plan or the training noted it, else of the counts that are kept for a page."""
    if entry.codes is not None or record is None or folder is None:
        return entry.codes
    if "codes" in record.made:
        codes: int | None = record.made["codes"]
        return codes
    try:
        with zipfile.ZipFile(folder / COUNTS[0]) as kept, kept.open(COUNTS[1]) as counts:
            return _shape(counts)[-1]
    except (OSError, ValueError, KeyError, IndexError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None  # not kept, or damaged, which the page says


def _shape(file: IO[bytes]) -> tuple[int, ...]:
    """Of the array in a .npy file, whose values are not read."""
    head = npy.read_array_header_1_0 if npy.read_magic(file) == (1, 0) else npy.read_array_header_2_0
    return head(file)[0]


def usual(budgets: Sequence[Budget], quantity: str) -> float | None:
    """What the rows of a block have of one of :data:`QUANTITIES`, by their median; None where none is known."""
    known = [value for each in budgets if (value := getattr(each, quantity)) is not None]
    return median_low(known) if known else None


def beside(budget: Budget, budgets: Sequence[Budget]) -> dict[str, tuple[float, float]]:
    """Each quantity in which ``budget`` is not equal to ``budgets``, those of its block: its own and the usual one."""
    found = {}
    for quantity in QUANTITIES:
        own, others = getattr(budget, quantity), usual(budgets, quantity)
        if own is None or others is None:
            continue
        if abs(own - others) > (SHARE * others if quantity == "bits" else 0):
            found[quantity] = (own, others)
    return found


def usual_state(budgets: Sequence[Budget]) -> float | None:
    """The median learned state of a block's rows; None where none is known."""
    known = [each.state for each in budgets if each.state is not None]
    return median(known) if known else None
