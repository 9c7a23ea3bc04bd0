"""The learning rate of every update."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["constant", "cosine"]


def learning_rate(
    step: int, total: int, peak: float, schedule: Schedule = "constant", warmup: int = 0, final: float = 0.0
) -> float:
    """The rate of update ``step``, counted from 0, of ``total``.

    In the first ``warmup`` updates it grows in a line, from peak/warmup to peak. Then it stays, or falls along half a
    cosine towards the share ``final`` of the peak, which an update number ``total`` would have.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    done = (step - warmup) / max(1, total - warmup)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)
