"""Real processes under test: quantizers that misbehave, watched commands, and cleanup."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.tiny_suite import command

# A quantizer that a user might bring; its training passes do something odd, from a given one on.
PLUGIN = '''
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from vqbench.quantizers.vq import VQ


class Odd(VQ):
    """Does something odd in a training forward pass."""

    paper = "none"
    count = 0

    def forward(self, z):
        self.count += self.training
        {always}
        if self.training and self.count > {after}:
            {odd}
        return super().forward(z)
'''
PATIENCE = 300  # seconds; far longer than any step takes, so that only a fault can reach it


def plugin(folder: Path, name: str, odd: str, after: int = 20, always: str = "pass") -> Path:
    """Write a quantizer that runs the code ``odd`` in every training pass after so many, and ``always`` in each."""
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.format(odd=odd, after=after, always=always))
    return path


@contextmanager
def running(*words: object, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Start a command whose stderr is a pipe; at the end, it and the workers that it started are gone."""
    with subprocess.Popen(
        command(*words),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    ) as process:
        try:
            yield process
        finally:
            started = [process.pid, *children(process.pid)] if process.poll() is None else []
            for number in started:
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    """Wait until ``condition()`` is true, as long as the process lives."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the condition never becomes true"
        time.sleep(0.05)


def children(process: int) -> list[int]:
    """The processes that ``process`` has started and that are alive."""
    try:
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def alive(process: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def wait_for_exit(processes: list[int]) -> None:
    """Wait until no process is alive."""
    deadline = time.monotonic() + PATIENCE
    while any(map(alive, processes)):
        assert time.monotonic() < deadline, "the processes do not end"
        time.sleep(0.05)
