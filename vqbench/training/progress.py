"""The progress of a training, as its checkpoints keep it, and its clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from vqbench.errors import UsageError

VARIABLE = "VQBENCH_CHECKPOINT_EVERY"
SHARE = 0.05  # of the time that checkpoints may take: large ones, slow to write, become rarer


def checkpoint_interval() -> float:
    """Read the seconds between checkpoints from the environment.

    ``VQBENCH_CHECKPOINT_EVERY``, by default 15.

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
        """Return whether a checkpoint is due, given what the last one took."""
        return time.monotonic() - self._saved > max(self._interval, self._writing / SHARE)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Time the checkpoint that is written within this context."""
        started = time.monotonic()
        yield
        self._saved = time.monotonic()
        self._writing = self._saved - started


@dataclass
class Progress:
    """What a checkpoint keeps besides weights, to resume exactly.

    A recipe adds a float field for each term that it sums over an epoch, and whatever else it needs to resume.
    """

    step: int = 0  # updates done
    seconds: float = 0.0  # spent in training, over all restarts
    history: list[dict[str, Any]] = field(default_factory=list)  # one mapping per epoch
    origins: list[dict[str, Any]] = field(default_factory=list)  # machines that trained part of it


@dataclass
class LossProgress(Progress):
    """The progress of a training that reports its loss alone."""

    loss: float = 0.0  # sum over the updates of the epoch so far


AnyProgress = TypeVar("AnyProgress", bound=Progress)


def restored(kind: type[AnyProgress], saved: dict[str, Any]) -> AnyProgress:
    """Rebuild progress of a ``kind`` from a checkpoint.

    Fields that an older version did not keep start anew.

    Raises ValueError or TypeError for an unknown field, or a value of another type than the field starts with.
    """
    for name, initial in asdict(kind()).items():
        value = saved.get(name, initial)
        if type(value) is not type(initial) and not (isinstance(initial, float) and type(value) is int):
            raise ValueError(f"its {name} is {value!r:.40}")
    return kind(**saved)
