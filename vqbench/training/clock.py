"""The clock of a training: seconds spent, and when the next checkpoint is due."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from vqbench.errors import UsageError

VARIABLE = "VQBENCH_CHECKPOINT_EVERY"
SHARE = 0.05  # of the time that checkpoints may take: large ones, slow to write, become rarer


def checkpoint_interval() -> float:
    """Read the seconds between checkpoints from ``VQBENCH_CHECKPOINT_EVERY``, by default 15.

    When checkpoints are written does not change what is trained. Raises UsageError for a value that is no number of
    seconds.
    """
    text = os.environ.get(VARIABLE, "15")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:  # nor NaN
        raise UsageError(f"{VARIABLE}={text[:20]}: not a number of seconds; unset it or write one")
    return seconds


class Clock:
    """Seconds in training, over all restarts, and whether a checkpoint is due.

    Args:
        seconds: spent before this start.
        interval: least seconds between checkpoints; see :func:`checkpoint_interval`.
    """

    def __init__(self, seconds: float, interval: float) -> None:
        self._before, self._interval, self._started = seconds, interval, time.monotonic()
        self._saved, self._writing = self._started, 0.0

    @property
    def seconds(self) -> float:
        """Seconds spent so far, over all restarts."""
        return self._before + time.monotonic() - self._started

    def due(self) -> bool:
        """Return whether the last checkpoint is old enough, given what it took to write."""
        return time.monotonic() - self._saved > max(self._interval, self._writing / SHARE)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time the checkpoint that is written within this context."""
        started = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._writing = self._saved - started
