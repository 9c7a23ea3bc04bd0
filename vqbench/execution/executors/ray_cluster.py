"""The connection to a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from vqbench.errors import UsageError
from vqbench.execution.stopping import SIGNALS
from vqbench.system import processes

KNOCK = 10.0  # seconds in which a cluster must answer
OBJECTS = 500_000_000  # bytes of the object store of a cluster that is started here: for results alone


def fits(resources: dict[str, float], wanted: dict[str, float]) -> int:
    """How many times a node has what a run wants.

    >>> fits({"CPU": 8, "GPU": 1}, {"CPU": 1, "GPU": 0.25})
    4
    """
    return min(int(resources.get(name, 0) / amount + 1e-9) for name, amount in wanted.items() if amount)


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at ``host:port``; Ray itself would wait for ever."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=KNOCK).close()


class _Path(list[str]):
    """What nodes put first on their path: not the working directory, which Ray would add."""

    def extend(self, entries: Iterable[str]) -> None:
        pass


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module ``ray``, connected to the cluster at ``address``, or to one started here; left at the end."""
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would call home
        import ray
        import ray.job_config
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UsageError(f"--executor ray needs Ray ({error}): python -m pip install 'vqbench[ray]'") from None
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECTS} if address == "local" else {}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        _knock(address)
        own["job_config"] = ray.job_config.JobConfig()
        own["job_config"]._py_driver_sys_path = _Path(processes.lacking())
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (OSError, RuntimeError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise UsageError(f"--executor ray: no connection to a cluster at {address!r}: {first}") from error
    finally:
        for number, handler in handlers.items():  # Ray takes SIGTERM for itself
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()
