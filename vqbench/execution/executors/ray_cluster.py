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
from vqbench.execution.messages import SIGNALS
from vqbench.system import processes

CONNECT_SECONDS = 10.0  # in which a cluster must answer
OBJECT_STORE_BYTES = 500_000_000  # of a cluster that is started here; it holds checkpoints and results alone


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Connect to the Ray cluster at ``address``, or start one here.

    Yields the module ``ray``, and disconnects at the end.

    Raises UsageError where Ray is not installed or no cluster answers.
    """
    try:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would send usage statistics
        import ray
        import ray.job_config
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UsageError(f"--executor ray needs Ray ({error}): python -m pip install 'vqbench[ray]'") from None
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {}
    if address == "local":
        options = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        _require_reachable(address)
        options["job_config"] = ray.job_config.JobConfig()
        options["job_config"]._py_driver_sys_path = _FixedPath(processes.missing_path())
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (OSError, RuntimeError, ValueError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise UsageError(f"--executor ray: no connection to a cluster at {address!r}: {first_line}") from error
    finally:
        for number, handler in handlers.items():  # Ray installs a handler of its own for SIGTERM
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def capacity(node: dict[str, float], per_run: dict[str, float]) -> int:
    """Return how many runs that each need the resources ``per_run`` fit on a node.

    >>> capacity({"CPU": 8, "GPU": 1}, {"CPU": 1, "GPU": 0.25})
    4
    """
    return min(int(node.get(name, 0) / amount + 1e-9) for name, amount in per_run.items() if amount)


def _require_reachable(address: str) -> None:
    """Raise OSError where nothing listens at ``host:port``.

    Ray itself would wait forever.
    """
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=CONNECT_SECONDS).close()


class _FixedPath(list[str]):
    """The first entries of the nodes' import path.

    Ignores the working directory, which Ray would add.
    """

    def extend(self, entries: Iterable[str]) -> None:
        pass
