"""A worker process as its driver sees it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing import Pipe
from typing import Any

from vqbench.execution.executors.messages import Setup
from vqbench.planning.jobs import Job
from vqbench.store.results import LOG_LINES
from vqbench.system import processes

PATIENCE = 10.0  # seconds that an idle process has to leave
KEPT = 200  # lines that are remembered of what a process printed
FATAL = "Fatal Python error"  # how the interpreter's account of a crash begins: the innermost call comes first


class WorkerProcess:
    """One worker process and the job it has. ``number`` decides on its GPU; the last lines that it printed are kept."""

    def __init__(self, number: int, setup: Setup, variables: Mapping[str, str]) -> None:
        self.number = number
        self.connection, theirs = Pipe()
        self.job: Job | None = None
        self.began = 0.0
        self.ready = self.overdue = False
        self.log: deque[str] = deque(maxlen=KEPT)
        self._part = b""
        self.process = subprocess.Popen(
            processes.command("vqbench.execution.executors.worker_main", theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,  # Ctrl-C is for this process, which tells the workers
            env=dict(variables),
        )
        theirs.close()
        assert self.process.stdout is not None
        self.output: Any = self.process.stdout
        self.send(setup)

    def send(self, message: object) -> None:
        with suppress(OSError):  # it died, which is seen, and told, where its end of the connection is read
            self.connection.send(message)

    def lines(self) -> list[str]:
        """What it printed since the last call, in whole lines. Only when there is something to read."""
        if self.output is None:
            return []
        got = os.read(self.output.fileno(), 1 << 16)
        *whole, self._part = (self._part + got).split(b"\n")
        if not got:
            self.output.close()
            self.output, whole, self._part = None, [self._part] if self._part else [], b""
        lines = [line.decode(errors="replace").rstrip() for line in whole]
        self.log.extend(lines)
        return lines

    def last_lines(self) -> list[str]:
        """What tells of the end of a run: the beginning of an account of a crash, or else the last lines."""
        lines = list(self.log)
        begins = [number for number, line in enumerate(lines) if line.startswith(FATAL)]
        return lines[begins[-1] :][:LOG_LINES] if begins else lines[-LOG_LINES:]

    def leave(self, patience: float) -> int:
        """Wait for its end, and bring it about if that takes too long; its exit code."""
        try:
            return self.process.wait(patience)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def why(self) -> str:
        """What its end looks like from outside."""
        code = self.leave(PATIENCE)
        if code == -signal.SIGKILL:
            return "its process was killed by signal 9 (out of memory?)"
        if code < 0:
            return f"its process crashed by signal {-code} ({signal.strsignal(-code)})"
        return f"its process ended with exit code {code}"
