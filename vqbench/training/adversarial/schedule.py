"""Learning rates by the number of the update."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Schedule = Literal["constant", "cosine"]


def learning_rate(
    step: int, total: int, peak: float, schedule: Schedule = "constant", warmup: int = 0, final: float = 0.0
) -> float:
    """Return the rate of update ``step``, counted from 0, of ``total``.

    In the first ``warmup`` updates it grows linearly, from peak/warmup to peak. Then it stays, or falls along half a
    cosine towards the share ``final`` of the peak, which an update number ``total`` would have.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    if schedule == "constant":
        return peak
    done = (step - warmup) / max(1, total - warmup)
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


@dataclass(frozen=True)
class RateSchedule:
    """The learning rate over a phase of training; see :func:`learning_rate`."""

    peak: float
    schedule: Schedule = "constant"
    warmup: int = 0  # updates
    final: float = 0.0  # share of the peak

    def at(self, step: int, total: int) -> float:
        """Return the rate of update ``step``, counted from 0, of ``total``."""
        return learning_rate(step, total, self.peak, self.schedule, self.warmup, self.final)
