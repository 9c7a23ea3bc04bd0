"""Whoever wants to see a training while it runs: a listener is told of every epoch.

``vqbench run SUITE --listen tensorboard`` writes to ``STORE/RUN/tensorboard`` (``pip install 'vqbench[tensorboard]'``).
``--listen package.module:name`` calls your own ``name(run, folder)`` once a run, with the run's description as JSON and
the run's folder; what it returns is called with every epoch's history: ``{"epoch": 1, "loss": ..., "usage": ...}``.
A listener that fails is told of, and asked no more; the run goes on.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vqbench.errors import UsageError
from vqbench.spec import RunSpec

VARIABLE = "VQBENCH_LISTEN"  # read by every process that trains
Told = Callable[[Mapping[str, Any]], None]
OURS = {"tensorboard": "vqbench.running.listening:tensorboard"}


def listen(name: str) -> None:
    """Let the runs of this process, and of those that it starts, be listened to. Raises UsageError for a wrong name."""
    found(name)
    os.environ[VARIABLE] = name


def found(name: str) -> Callable[[Any, Path], Told]:
    """The listener called ``name``: ``tensorboard``, or ``module:callable``."""
    module, _, attribute = OURS.get(name, name).partition(":")
    if not attribute:
        raise UsageError(f"--listen {name}: neither {', '.join(OURS)} nor package.module:name")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"--listen {name}: cannot be imported ({error})") from error


def listener(run: RunSpec, folder: Path, say: Callable[[str], None]) -> Told:
    """What is to be told of each epoch of ``run``. ``say`` shows a sentence to the user."""
    name = os.environ.get(VARIABLE)
    if not name:
        return lambda epoch: None
    told: Told | None = None
    failed = False

    def tell(epoch: Mapping[str, Any]) -> None:
        nonlocal told, failed
        if failed:
            return
        try:
            told = told or found(name)({**run.to_dict(), "key": run.key}, folder)
            told(dict(epoch))
        except Exception as error:  # somebody else's code, which a run must not depend on
            failed = True
            say(f"--listen {name} failed and is asked no more: {type(error).__name__}: {error}")

    return tell


def tensorboard(run: Any, folder: Path) -> Told:
    """Every number of an epoch as a scalar of TensorBoard, in the run's own folder."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard is not there; pip install 'vqbench[tensorboard]'") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def told(epoch: Mapping[str, Any]) -> None:
        for name, value in epoch.items():
            if name != "epoch" and isinstance(value, int | float):
                writer.add_scalar(name, value, epoch["epoch"])
        writer.flush()

    return told
