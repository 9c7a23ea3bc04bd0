"""Loggers: callables that receive every epoch while a run is trained.

``vqbench run SUITE --logger tensorboard`` writes to ``STORE/RUN/tensorboard`` (``pip install 'vqbench[tensorboard]'``).
``--logger FILE.py:name``, or ``package.module:name`` of an installed package, calls your own ``name(run, folder)`` once
per run, with the run's description as JSON and the run's folder; what it returns is called with the history of every
epoch: ``{"epoch": 1, "loss": ..., "usage": ...}``. A logger that raises an error is reported once and not called again;
the run continues.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from vqbench.errors import UsageError
from vqbench.spec import RunSpec

EpochCallback = Callable[[Mapping[str, Any]], None]
Logger = Callable[[Any, Path], EpochCallback]  # (run's description, its folder) -> callback of that run
BUILT_IN = {"tensorboard": "vqbench.execution.callbacks:tensorboard"}


def logger_file(name: str) -> Path | None:
    """Return the file of a logger ``FILE.py:name``; None for other loggers."""
    path, _, _ = name.rpartition(":")
    return Path(path).expanduser().absolute() if path.endswith(".py") else None


def checked_name(name: str) -> str:
    """Check a logger, and return its name with the absolute path of its file.

    Raises UsageError where it cannot be loaded.
    """
    load_logger(name)
    file = logger_file(name)
    return name if file is None else f"{file}:{name.rpartition(':')[2]}"


def load_logger(name: str) -> Logger:
    """Load a logger: tensorboard, FILE.py:name or package.module:name.

    Raises UsageError where it does not exist, cannot be imported or cannot be called.
    """
    module, _, attribute = BUILT_IN.get(name, name).rpartition(":")
    if not (module and attribute):
        raise UsageError(f"--logger {name}: neither {', '.join(BUILT_IN)}, nor FILE.py:name, nor package.module:name")
    file = logger_file(name)
    try:
        loaded: Any = getattr(importlib.import_module(module) if file is None else _import_file(file), attribute)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--logger {name}: {error}; a module must be installed, the working directory is not searched: give a file "
            f"as FILE.py:{attribute}"
        ) from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise UsageError(f"--logger {name}: cannot be imported ({type(error).__name__}: {error})") from error
    if not callable(loaded):
        raise UsageError(f"--logger {name}: {attribute} is of type {type(loaded).__name__}, which cannot be called")
    logger: Logger = loaded
    return logger


@cache
def _import_file(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"vqbench_logger_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def epoch_callback(name: str | None, run: RunSpec, folder: Path, log: Callable[[str], None]) -> EpochCallback:
    """Return the callback that passes every epoch of ``run`` to a logger.

    Without a ``name`` it does nothing.

    The logger is loaded at the first epoch. ``log`` shows a sentence to the user.
    """
    if name is None:
        return lambda epoch: None
    on_epoch: EpochCallback | None = None
    failed = False

    def pass_on(epoch: Mapping[str, Any]) -> None:
        nonlocal on_epoch, failed
        if failed:
            return
        try:
            on_epoch = on_epoch or load_logger(name)({**run.to_dict(), "key": run.key}, folder)
            on_epoch(dict(epoch))
        except Exception as error:  # a run must not depend on the user's logger
            failed = True
            log(f"--logger {name} failed and is not called again: {type(error).__name__}: {error}")

    return pass_on


def tensorboard(run: Any, folder: Path) -> EpochCallback:
    """Write every number of an epoch as a scalar of TensorBoard to the run's folder."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("TensorBoard is not installed; pip install 'vqbench[tensorboard]'") from error
    writer = SummaryWriter(str(folder / "tensorboard"))

    def write(epoch: Mapping[str, Any]) -> None:
        for name, value in epoch.items():
            if name != "epoch" and isinstance(value, int | float):
                writer.add_scalar(name, value, epoch["epoch"])
        writer.flush()

    return write
