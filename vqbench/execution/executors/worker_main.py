"""The program of a worker process: carries out jobs that its driver sends.

:mod:`vqbench.system.processes` starts it with the file descriptor of a connection, on which it receives a
:class:`~vqbench.execution.messages.WorkerSetup`, then one job after the other, and sends back their progress
and results. The driver also reads what it prints. It saves a checkpoint and ends when the driver requests it, when a
signal arrives, and when the driver dies: no worker outlives its driver.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from dataclasses import replace
from multiprocessing.connection import Connection
from types import FrameType

from vqbench.execution.messages import (
    SIGNALS,
    AssignedJob,
    LogMessage,
    RunAdvanced,
    RunStarted,
    StopRequest,
    WorkerExit,
    WorkerReady,
    WorkerSetup,
)
from vqbench.spec import RunSpec

SEND_EVERY = 0.2  # seconds between two messages about the progress of a run
ORPHAN_SECONDS = 120.0  # that a worker without a driver may take to save its checkpoint before it is ended


class DriverConnection:
    """The worker's end of the connection: a ProgressListener, and whether to stop."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.stopping = False
        self.signal: int | None = None
        self._jobs: queue.SimpleQueue[AssignedJob | None] = queue.SimpleQueue()
        self._last_sent = 0.0
        for number in (*SIGNALS, signal.SIGUSR2):  # SIGUSR2: submitit's warning, sent to all processes of a Slurm step
            signal.signal(number, self._on_signal)

    def start_receiving(self) -> None:
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        """Queue the jobs that arrive, until the driver requests a stop or dies."""
        try:
            while not isinstance(message := self.connection.recv(), StopRequest):
                self._jobs.put(message)
        except (EOFError, OSError):
            discarded = os.open(os.devnull, os.O_WRONLY)  # printing to the dead driver's pipe would raise
            os.dup2(discarded, 1)
            os.dup2(discarded, 2)
            self._stop()
            time.sleep(ORPHAN_SECONDS)
            os._exit(1)
        self._stop()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self._stop()

    def _stop(self) -> None:
        self.stopping = True
        self._jobs.put(None)

    def next_job(self) -> AssignedJob | None:
        """Wait for the next job; None once the worker is to stop."""
        assigned = self._jobs.get()
        return None if self.stopping else assigned

    def stop_requested(self) -> bool:
        return self.stopping

    def send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            self.stopping = True

    def run_started(self, run: RunSpec, activity: str) -> None:
        self._last_sent = 0.0
        self.send(RunStarted(activity))

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        if (now := time.monotonic()) - self._last_sent > SEND_EVERY:
            self._last_sent = now
            self.send(RunAdvanced(done, total))

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        pass  # sent as a RunResult

    def log(self, text: str) -> None:
        self.send(LogMessage(text))


def main() -> None:
    """Carry out jobs until the driver has no more or requests a stop."""
    descriptor = int(sys.argv[1])
    os.set_inheritable(descriptor, False)
    driver = DriverConnection(Connection(descriptor))
    try:
        setup: WorkerSetup = driver.connection.recv()
    except EOFError:
        return
    driver.start_receiving()

    import faulthandler

    import torch

    from vqbench import registry
    from vqbench.execution.runner import Runner

    faulthandler.enable()
    for path in setup.settings.plugins:
        registry.add_file(path)
    driver.send(WorkerReady(torch.cuda.device_count() if torch.cuda.is_available() else 0))
    runners: dict[str, Runner] = {}
    with setup.settings.downloads():
        while (assigned := driver.next_job()) is not None:
            device = assigned.device
            if device not in runners:
                settings = replace(setup.settings, device=device)
                runners[device] = Runner(setup.folder, settings, driver, driver.stop_requested, False)
            result = runners[device].attempt(assigned.job)
            sys.stdout.flush()
            driver.send(result)
            if not result.reusable:
                break
    for runner in runners.values():
        runner.close()
    driver.send(WorkerExit(driver.signal))


if __name__ == "__main__":
    main()
