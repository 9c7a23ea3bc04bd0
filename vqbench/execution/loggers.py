"""Loggers receive losses, epochs and values of runs while they are made.

``vqbench run SUITE --logger NAME`` loads a callable: ``tensorboard`` (``pip install 'vqbench[tensorboard]'``), your
``FILE.py:name``, or ``package.module:name`` of an installed package. It is called once per run with a :class:`RunInfo`
and returns a :class:`RunLogger`. A logger that raises an error is reported once and not called again; the run
continues.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

from vqbench.errors import UsageError, named

if TYPE_CHECKING:
    from vqbench.store.record import Record

Outcome = Literal["done", "stopped", "failed"]
METHODS = ("log_updates", "log_epoch", "log_values", "close")
BUILT_IN = {"tensorboard": "vqbench.execution.loggers:TensorBoard"}


@dataclass(frozen=True)
class RunInfo:
    """What a logger receives of a run at its beginning.

    >>> spec = {"quantizer": {"name": "vq", "version": 1, "args": {"beta": 0.25}}, "seed": 42}
    >>> info = RunInfo("0a1b2c3d4e5f6071", "VQ", spec, Path("runs/x"))
    >>> info.config()
    {'quantizer': 'vq', 'quantizer.beta': 0.25, 'seed': 42}
    """

    key: str  # 16 hexadecimal digits; a stopped run keeps it when it resumes
    label: str  # of its row in the table; of a second stage, with its recipe: "diffusion on VQ"
    spec: Mapping[str, Any]  # recipe, backbone, dataset, quantizer (name, version, args), seed, parent; plain data
    folder: Path  # of the run; what is written there stays beside the record

    def config(self) -> dict[str, str | int | float | bool | None]:
        """Return the specification as flat pairs, such as ``quantizer.beta``."""
        flat: dict[str, Any] = {}
        for part, value in self.spec.items():
            if isinstance(value, Mapping):
                flat[part] = value["name"]
                flat |= {f"{part}.{name}": argument for name, argument in value["args"].items()}
            else:
                flat[part] = value
        return flat


class RunLogger(Protocol):
    """The base class of what receives one run: write the methods that you need.

    Methods are called in the process that carries out the run, on rank 0. A run that resumes is opened again, with the
    same :attr:`RunInfo.key`, and goes on counting; after a crash, what followed the last checkpoint comes once more.
    """

    def log_updates(self, step: int, losses: Mapping[str, float]) -> None:
        """Receive mean losses since the last call, every 50 updates.

        Args:
            step: updates done, from 1.
            losses: the recipe's terms, such as ``loss`` and ``error``, by name.
        """

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Receive the numbers of an epoch, as the record's ``history`` keeps them.

        Args:
            epoch: epochs done, from 1.
            numbers: mean losses, ``selection_error``, and ``usage`` and ``perplexity`` of the training codes, by name.
        """

    def log_values(self, values: Mapping[str, Mapping[str, float]]) -> None:
        """Receive all values of the finished run: protocol -> metric -> value.

        Also called where a metric was added to a run that was trained before.
        """

    def close(self, outcome: Outcome) -> None:
        """Receive the end: ``done``, ``stopped`` (it can resume) or ``failed``."""


Logger = Callable[[RunInfo], RunLogger]


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


class GuardedLogger:
    """Opens a logger at its first event, and calls it no more once it has failed.

    Args:
        name: of the logger; see :func:`load_logger`.
        info: the run.
        log: shows a sentence to the user.
        interruptible: whether Ctrl-C raises KeyboardInterrupt in this process; else only the logger itself can have.
    """

    def __init__(self, name: str, info: RunInfo, log: Callable[[str], None], interruptible: bool = True) -> None:
        self.name, self._info, self._log, self._interruptible = name, info, log, interruptible
        self._logger: RunLogger | None = None
        self._failed = False

    def updates(self, step: int, losses: Mapping[str, float]) -> None:
        self._call("log_updates", step, dict(losses))

    def epoch(self, entry: Mapping[str, Any]) -> None:
        self._call("log_epoch", entry["epoch"], _numbers({name: entry[name] for name in entry if name != "epoch"}))

    def values(self, record: Record) -> None:
        values = {
            protocol: _numbers({name: value.value for name, value in metrics.items()})
            for protocol, metrics in record.values.items()
        }
        self._call("log_values", values)

    def close(self, outcome: Outcome) -> None:
        if self._logger is not None:
            self._call("close", outcome)
            self._logger = None

    def _call(self, method: str, *arguments: object) -> None:
        if self._failed:
            return
        try:
            if self._logger is None:
                self._logger = _opened(load_logger(self.name), self._info)
            getattr(self._logger, method)(*arguments)
        except BaseException as error:  # a run must not depend on the user's logger, which may call sys.exit
            if isinstance(error, KeyboardInterrupt) and self._interruptible:
                raise
            self._failed = True
            self._log(f"--logger {self.name} failed and is not called again: {named(error)}")


def _opened(logger: Logger, info: RunInfo) -> RunLogger:
    """Call the user's logger. Raises TypeError where it returns something else."""
    opened = logger(info)
    missing = [name for name in METHODS if not callable(getattr(opened, name, None))]
    if missing:
        raise TypeError(
            f"it returned {type(opened).__name__}, which has no method {missing[0]}; return an object of a class "
            "derived from vqbench.execution.loggers.RunLogger"
        )
    return opened


def _numbers(entry: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of ``entry``; what is unknown or not finite is left out."""
    return {
        name: float(value)
        for name, value in entry.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


class TensorBoard(RunLogger):
    """Writes every number as a scalar of TensorBoard, to the run's folder.

    Losses are under ``updates/``, numbers of epochs under ``epochs/``, final values under their protocol.
    """

    def __init__(self, info: RunInfo) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError("TensorBoard is not installed; pip install 'vqbench[tensorboard]'") from error
        self._writer: Any = SummaryWriter(str(info.folder / "tensorboard"))

    def log_updates(self, step: int, losses: Mapping[str, float]) -> None:
        self._write("updates", losses, step)

    def log_epoch(self, epoch: int, numbers: Mapping[str, float]) -> None:
        self._write("epochs", numbers, epoch)

    def log_values(self, values: Mapping[str, Mapping[str, float]]) -> None:
        for protocol, metrics in values.items():
            self._write(protocol, metrics, 0)

    def close(self, outcome: Outcome) -> None:
        self._writer.close()

    def _write(self, group: str, numbers: Mapping[str, float], step: int) -> None:
        for name, number in numbers.items():
            self._writer.add_scalar(f"{group}/{name}", number, step)
        self._writer.flush()
