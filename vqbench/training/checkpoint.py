"""Checkpoints of a training: what they keep, when they are due, their format.

On disk they are torch's format with a digest. The digest is in the comment at the end of the zip archive that
``torch.save`` writes, so that file and digest can never belong to different states, and ``torch.load`` reads the file
like any other. torch itself does not notice a flipped bit.
"""

from __future__ import annotations

import hashlib
import io
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from vqbench.errors import Damaged, StoreError
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

SHARE = 0.05  # of the time that checkpoints may take: large ones, slow to write, become rarer
LABEL = b"vqbench sha256 "
COMMENT = len(LABEL) + 64  # bytes
LENGTH = 2  # bytes at the end of an archive without comment: its length, which is 0


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


class Clock:
    """Seconds in training, over all restarts, and whether a checkpoint is due.

    Args:
        seconds: spent before this start.
        interval: least seconds between checkpoints.
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


# On disk -------------------------------------------------------------------------------------------------------------


def write(path: Path, state: dict[str, Any]) -> None:
    """Write ``state`` atomically.

    A reader gets the old or the new file, never a part. Raises Unwritable where it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    archive = buffer.getbuffer()  # in pieces: a copy of some gigabytes takes time
    comment = LABEL + hashlib.sha256(archive).hexdigest().encode()
    write_atomically(path, archive[:-LENGTH], COMMENT.to_bytes(LENGTH, "little"), comment)


def read(path: Path) -> dict[str, Any]:
    """Read the state in ``path`` onto the CPU.

    Checkpoints without a digest are read as well.

    Raises Damaged for a file that is missing or not what was written, and StoreError where the machine fails to read
    it: such a file may be sound.
    """
    try:
        content = stored_files.content(path)
        _require_digest(content)
        with stored_files.refusals(path):
            state = _loaded(content)
        if not isinstance(state, dict):
            raise ValueError("it holds no state")
        return state
    except (FileNotFoundError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise Damaged(
            f"{path}: the checkpoint is damaged or truncated ({what}); delete it to train this run from its start"
        ) from error


@contextmanager
def restoring(path: Path) -> Iterator[None]:
    """Raise Damaged if what is loaded within is no state of this run.

    Such a state is of another model, or lacks a part.
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError) or _is_memory(error):
            raise StoreError(f"{path}: cannot be loaded (out of memory); use a device with more") from error
        if "CUDA" in str(error):  # a fault of the device
            raise
        lines = str(error).strip().splitlines() or [""]
        raise Damaged(
            f"{path}: not a checkpoint of this run ({type(error).__name__}: {lines[-1].strip():.200}); delete it to "
            "train this run from its start"
        ) from error


def _require_digest(content: bytes) -> None:
    """Raise ValueError if a digest exists and is of other content."""
    comment = content[-COMMENT:]
    if comment.startswith(LABEL):
        sha = hashlib.sha256(memoryview(content)[: -COMMENT - LENGTH])
        sha.update(bytes(LENGTH))
        if sha.hexdigest().encode() != comment.removeprefix(LABEL):
            raise ValueError("its content does not fit its digest")


def _loaded(content: bytes) -> Any:
    """Return the state on the CPU.

    There, the update counts of an optimizer are read without waiting.

    Raises ValueError for anything but a checkpoint, whatever is wrong with it, and MemoryError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickles, from torch's own unpickler
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch passes on errors of its unpickler, of any kind
        if isinstance(error, MemoryError) or _is_memory(error):
            raise MemoryError(str(error)) from error
        raise ValueError(type(error).__name__) from error


def _is_memory(error: Exception) -> bool:
    """Return whether torch could not allocate: it raises RuntimeError."""
    return isinstance(error, RuntimeError) and "allocate" in str(error)
