"""The progress of a training, as its checkpoints keep it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar


@dataclass
class Progress:
    """What a checkpoint keeps besides weights, so that a training resumes as if it had never stopped.

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
    """Rebuild progress of a ``kind`` from a checkpoint; fields that an older version did not keep start anew.

    Raises ValueError or TypeError for an unknown field, or a value of another type than the field starts with.
    """
    for name, initial in asdict(kind()).items():
        value = saved.get(name, initial)
        if type(value) is not type(initial) and not (isinstance(initial, float) and type(value) is int):
            raise ValueError(f"its {name} is {value!r:.40}")
    return kind(**saved)
