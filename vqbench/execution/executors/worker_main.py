"""A process that carries out runs for another one: :mod:`vqbench.system.processes` runs it, with the number FD.

FD is its end of a connection. It gets a setup, then job after job, and tells how they go on. Whatever it prints is
read by the other side. It stops, with the work kept, when it is told to, when a signal comes, and when the other side
is gone: no driver that dies, however, leaves a process behind.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from types import FrameType

from vqbench.execution.executors.messages import Advanced, Assigned, Halt, Left, Ready, Said, Setup, Started
from vqbench.execution.stopping import SIGNALS
from vqbench.spec import RunSpec
from vqbench.system import console

TELL_EVERY = 0.2  # seconds between two messages on how far a run is
ALONE = 120.0  # seconds that a worker may take to keep its work when the other side is gone: one that hangs ends, too


class DriverConnection:
    """The worker's end of the connection. It is a Listener, and knows whether to stop."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.halted = False
        self.signal: int | None = None
        self._jobs: queue.SimpleQueue[Assigned | None] = queue.SimpleQueue()
        self._told = 0.0
        for number in (*SIGNALS, signal.SIGUSR2):  # the last is submitit's warning, which all of a Slurm step get
            signal.signal(number, self._on_signal)

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Take what comes until the other side says stop or is gone."""
        try:
            while not isinstance(message := self.connection.recv(), Halt):
                self._jobs.put(message)
        except (EOFError, OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)  # nobody reads any more what is printed, which must not matter
            os.dup2(nowhere, 1)
            os.dup2(nowhere, 2)
            self._halt()
            time.sleep(ALONE)
            os._exit(1)
        self._halt()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        self._halt()

    def _halt(self) -> None:
        self.halted = True
        self._jobs.put(None)

    def next(self) -> Assigned | None:
        """The next job; None when there is none any more."""
        assigned = self._jobs.get()
        return None if self.halted else assigned

    def stopped(self) -> bool:
        return self.halted

    def send(self, message: object) -> None:
        try:
            self.connection.send(message)
        except OSError:
            self.halted = True

    def run_started(self, run: RunSpec, doing: str) -> None:
        self._told = 0.0
        self.send(Started(doing))

    def advanced(self, run: RunSpec, done: int, total: int) -> None:
        if (now := time.monotonic()) - self._told > TELL_EVERY:
            self._told = now
            self.send(Advanced(done, total))

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        pass  # the whole of it is sent as Ended

    def say(self, text: str) -> None:
        self.send(Said(text))


def main() -> None:
    console.read_by_another()
    number = int(sys.argv[1])
    os.set_inheritable(number, False)
    line = DriverConnection(Connection(number))
    try:
        setup: Setup = line.connection.recv()
    except EOFError:
        return
    line.listen()

    import faulthandler

    import torch

    from vqbench import registry
    from vqbench.execution.runner import Runner

    faulthandler.enable()
    for path in setup.plugins:
        registry.add_file(path)
    line.send(Ready(torch.cuda.device_count() if torch.cuda.is_available() else 0))
    runners: dict[str, Runner] = {}
    while (assigned := line.next()) is not None:
        device = assigned.device
        if device not in runners:
            runners[device] = Runner(setup.folder, device, line, line.stopped, setup.devices)
        ended = runners[device].attempt(assigned.job)
        sys.stdout.flush()
        line.send(ended)
        if not ended.sound:
            break
    for runner in runners.values():
        runner.close()
    line.send(Left(line.signal))


if __name__ == "__main__":
    main()
