"""Whoever wants to see a training while it runs: a listener is told of every epoch.

``vqbench run SUITE --listen tensorboard`` writes to ``STORE/RUN/tensorboard`` (``pip install 'vqbench[tensorboard]'``).
``--listen FILE.py:name``, or ``package.module:name`` of an installed package, calls your own ``name(run, folder)`` once
a run, with the run's description as JSON and the run's folder; what it returns is called with every epoch's history:
``{"epoch": 1, "loss": ..., "usage": ...}``.
A listener that fails is told of, and asked no more; the run goes on.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from vqbench.errors import UsageError
from vqbench.spec import RunSpec

VARIABLE = "VQBENCH_LISTEN"  # read by every process that trains
Told = Callable[[Mapping[str, Any]], None]
OURS = {"tensorboard": "vqbench.execution.callbacks:tensorboard"}


def listen(name: str) -> None:
    """Let the runs of this process, and of those that it starts, be listened to. Raises UsageError for a wrong name."""
    found(name)
    where, colon, attribute = name.rpartition(":")
    if where.endswith(".py"):  # other processes may work in another folder
        name = f"{Path(where).expanduser().absolute()}{colon}{attribute}"
    os.environ[VARIABLE] = name


def found(name: str) -> Callable[[Any, Path], Told]:
    """The listener called ``name``: ``tensorboard``, ``FILE.py:callable`` or ``module:callable``.

    Raises UsageError where there is none.
    """
    where, _, attribute = OURS.get(name, name).rpartition(":")
    if not (where and attribute):
        raise UsageError(f"--listen {name}: neither {', '.join(OURS)}, nor FILE.py:name, nor package.module:name")
    try:
        called: Any = getattr(_file(where) if where.endswith(".py") else importlib.import_module(where), attribute)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--listen {name}: {error}; a module must be installed, the working directory is not searched: give a file "
            f"as FILE.py:{attribute}"
        ) from error
    except (Exception, SystemExit) as error:  # somebody else's code may fail in any way
        raise UsageError(f"--listen {name}: cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(called):
        raise UsageError(f"--listen {name}: {attribute} is a {type(called).__name__}, nothing that can be called")
    listener: Callable[[Any, Path], Told] = called
    return listener


@cache
def _file(path: str) -> ModuleType:
    """A Python file as a module."""
    file = Path(path).expanduser().absolute()
    spec = importlib.util.spec_from_file_location(f"vqbench_listener_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


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
