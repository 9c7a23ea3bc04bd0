"""Estimate the time until all runs of a command have ended."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping

LEAST_SECONDS, LEAST_SHARE = 3.0, 0.01  # of time and work before the first estimate
TRAINING = 0.8  # of a run's time, as a guess until runs have ended; the rest is its evaluation


class TimeLeft:
    """The time left: the time so far, times the work left over the work done.

    Work is measured in expected seconds, of which only the ratios between runs matter; the time so far includes that
    several runs are at work at once.

    Args:
        expected: expected seconds of each run, by its key; infinite where nothing is known.
    """

    def __init__(self, expected: Mapping[str, float]) -> None:
        known = [seconds for seconds in expected.values() if 0 < seconds < math.inf]
        typical = statistics.mean(known) if known else 1.0
        self._work = {key: seconds if 0 < seconds < math.inf else typical for key, seconds in expected.items()}
        self._done: dict[str, float] = {}  # key -> share of the run that is done
        self._before: dict[str, float] = {}  # key -> share that an earlier command has done
        self._started = time.monotonic()
        self._begun = False
        self._trained: set[str] = set()  # keys of runs that this command trains

    def begin(self) -> None:
        """Start the clock, at the first run; starting processes is no part of the work."""
        if not self._begun:
            self._begun, self._started = True, time.monotonic()

    def advance(self, key: str, training: bool, share: float) -> None:
        """Note the share of a run's training, or of its evaluation, that is done.

        The first report tells what an earlier command has done.
        """
        if training:
            self._trained.add(key)
            share *= TRAINING
        elif key in self._trained:
            share = TRAINING + (1 - TRAINING) * share
        self._before.setdefault(key, share)
        self._done[key] = share

    def end(self, key: str) -> None:
        """Note that a run has ended."""
        self._done[key] = 1.0

    def share(self) -> float:
        """Return the share of this command's work that is done, from 0 to 1."""
        total = sum(work * (1 - self._before.get(key, 0.0)) for key, work in self._work.items())
        done = sum(self._work[key] * (share - self._before.get(key, 0.0)) for key, share in self._done.items())
        return done / total if total > 0 else 1.0

    def seconds(self) -> float | None:
        """Return the seconds left; None while they cannot be estimated."""
        share, elapsed = self.share(), time.monotonic() - self._started
        return None if share < LEAST_SHARE or elapsed < LEAST_SECONDS else elapsed * (1 - share) / share
