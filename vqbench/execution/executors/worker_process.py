"""A worker process as the driver sees it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import wait
from typing import Any

from vqbench.execution.messages import WorkerSetup
from vqbench.spec import Job
from vqbench.store.record import LOG_LINES
from vqbench.system import processes

EXIT_SECONDS = 10.0  # that an idle worker may take to exit
DRAIN_SECONDS = 0.2  # to wait for more output of a dead worker, whose children may keep the pipe open
KEPT_LINES = 200  # of a worker's output
FATAL = "Fatal Python error"  # first line of the interpreter's report of a crash: the innermost call comes first


class WorkerProcess:
    """One worker process, its current job, and the last lines of its output.

    ``number`` decides on its GPU.
    """

    def __init__(self, number: int, setup: WorkerSetup, environment: Mapping[str, str]) -> None:
        self.number = number
        self.connection, worker_end = Pipe()
        self.job: Job | None = None
        self.started_at = 0.0  # monotonic time at which the job was assigned
        self.ready = self.timed_out = False
        self.leaving = False  # whether it has sent that it ends by itself, without another job
        self.log: deque[str] = deque(maxlen=KEPT_LINES)
        self._incomplete_line = b""
        self.process = subprocess.Popen(
            processes.command("vqbench.execution.executors.worker_main", worker_end.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[worker_end.fileno()],
            start_new_session=True,  # so that Ctrl-C reaches the driver alone, which then stops the workers
            env=dict(environment),
        )
        worker_end.close()
        assert self.process.stdout is not None
        self.output: Any = self.process.stdout
        self.send(setup)

    def send(self, message: object) -> None:
        """Send a message, if the worker is alive.

        Its death is noticed where its messages are received.
        """
        with suppress(OSError):
            self.connection.send(message)

    def read_lines(self) -> list[str]:
        """Read the complete lines that were printed since the last call.

        Blocks if nothing was printed.
        """
        if self.output is None:
            return []
        content = os.read(self.output.fileno(), 1 << 16)
        *complete, self._incomplete_line = (self._incomplete_line + content).split(b"\n")
        if not content:
            self.output.close()
            self.output, complete = None, [self._incomplete_line] if self._incomplete_line else []
            self._incomplete_line = b""
        lines = [line.decode(errors="replace").rstrip() for line in complete]
        self.log.extend(lines)
        return lines

    def drain(self) -> list[str]:
        """Close the connection and the output of a dead worker.

        Returns the lines that were left.
        """
        self.connection.close()
        lines = []
        while self.output is not None and wait([self.output], DRAIN_SECONDS):
            lines += self.read_lines()
        if self.output is not None:
            self.output.close()
        return lines

    def last_lines(self) -> list[str]:
        """Return the beginning of a crash report, or else the last lines."""
        lines = list(self.log)
        crashes = [number for number, line in enumerate(lines) if line.startswith(FATAL)]
        return lines[crashes[-1] :][:LOG_LINES] if crashes else lines[-LOG_LINES:]

    def wait_for_exit(self, timeout: float) -> int:
        """Wait at most ``timeout`` seconds for the exit, then kill the process.

        Returns the exit code.
        """
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def exit_reason(self) -> str:
        """Describe how the process ended, by its exit code."""
        code = self.wait_for_exit(EXIT_SECONDS)
        if code == -signal.SIGKILL:
            return "its process was killed by signal 9 (out of memory?)"
        if code < 0:
            return f"its process crashed by signal {-code} ({signal.strsignal(-code)})"
        early = " before its run was done, as by os._exit" if code == 0 and self.job and not self.leaving else ""
        return f"its process ended with exit code {code}{early}"
