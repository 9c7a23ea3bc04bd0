"""What training loops of all kinds need: when a checkpoint is due, and how long a training has taken."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

from vqbench.errors import UsageError

# Seconds between checkpoints; when one is written changes nothing in what is trained.
VARIABLE = "VQBENCH_CHECKPOINT_EVERY"
try:
    CHECKPOINT_EVERY = float(os.environ.get(VARIABLE, "15"))
    sound = CHECKPOINT_EVERY >= 0
except ValueError:
    sound = False
if not sound:
    raise UsageError(f"{VARIABLE}={os.environ[VARIABLE][:20]}: not a number of seconds; unset it or write one")
SHARE = 0.05  # of the time that writing checkpoints may take, where they are so large that this makes them rarer

Progress = TypeVar("Progress")


def restored(kind: type[Progress], saved: dict[str, Any]) -> Progress:
    """A training's progress as its checkpoint has it; fields that an older version did not keep begin anew.

    Raises ValueError or TypeError for a field that is unknown, or of another type than it begins with.
    """
    for name, initial in asdict(kind()).items():  # type: ignore[call-overload]  # a dataclass whose fields have defaults
        value = saved.get(name, initial)
        if type(value) is not type(initial) and not (isinstance(initial, float) and type(value) is int):
            raise ValueError(f"its {name} is {value!r:.40}")
    return kind(**saved)


class Clock:
    """Seconds in training, over all restarts, and whether it is time for a checkpoint."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._before, self._started = seconds, time.monotonic()
        self._saved, self._writing = self._started, 0.0

    @property
    def seconds(self) -> float:
        """Spent so far, over all restarts."""
        return self._before + time.monotonic() - self._started

    def due(self) -> bool:
        """Whether the last checkpoint is old enough."""
        return time.monotonic() - self._saved > max(CHECKPOINT_EVERY, self._writing / SHARE)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Within, a checkpoint is written."""
        begun = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._writing = self._saved - begun
