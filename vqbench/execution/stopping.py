"""Stopping before all runs are done: the time limit, and signals."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vqbench.errors import Evicted, Interrupted, TimeUp
from vqbench.execution.messages import SIGNALS

KILL_SIGNALS = (signal.SIGKILL, signal.SIGHUP, signal.SIGXCPU)  # sent from outside; a crash raises other signals
MAX_RESUMES = 2  # of a run whose processes are killed


class Stop:
    """Whether to save the work and stop; called between updates.

    A context manager that handles signals. Inside :meth:`graceful`, the first signal requests a clean stop and the
    second ends the work at once; outside, where nothing can be lost, the first ends it. Leaving the context then
    raises the error that has the right exit code: 130 after Ctrl-C, 75 after SIGTERM and SIGUSR1. Python handles
    signals in its main thread alone: in others, only the time limit stops. ``resumes`` is False for work that keeps
    nothing when it is stopped.
    """

    def __init__(self, time_limit: float | None = None, *, resumes: bool = True) -> None:
        self._resumes = resumes
        self.until = None if time_limit is None else time.monotonic() + time_limit  # seconds
        self.cause: Interrupted | None = None
        self._log: Callable[[str], None] | None = None  # set inside graceful()
        self._signalled = False

    def __call__(self) -> bool:
        """Return whether to stop."""
        if self.cause is None and self.until is not None and time.monotonic() >= self.until:
            self.cause = TimeUp("the time is up")
            self._show("the time is up: saving the work so far")
        return self.cause is not None

    def on_signal(self, number: int) -> None:
        """Stop because of a signal that arrived here or in a worker."""
        name = signal.Signals(number).name
        self.cause = Interrupted("stopped; finished work is kept, and the same command resumes it")
        if number != signal.SIGINT:
            self.cause = Evicted(f"stopped by {name}; the work so far is kept, and the same command resumes it")
        if not self._resumes:
            self.cause = type(self.cause)(f"stopped by {name}; nothing is kept: run the same command again")
        self._show(f"stopping{'' if number == signal.SIGINT else f' ({name})'}: saving the work so far")

    @contextmanager
    def graceful(self, log: Callable[[str], None]) -> Iterator[None]:
        """Have a first signal logged and kept in :attr:`cause`, not raised."""
        self._log = log
        try:
            yield
        finally:
            self._log = None

    def _show(self, text: str) -> None:
        if self._log:
            self._log(text)

    def _handle_signal(self, number: int, _: FrameType | None) -> None:
        again, self._signalled = self._signalled, True
        if not again:
            self.on_signal(number)
        if again or self._log is None:
            raise KeyboardInterrupt

    def __enter__(self) -> Stop:
        handled = SIGNALS if threading.current_thread() is threading.main_thread() else ()
        self._before = {number: signal.signal(number, self._handle_signal) for number in handled}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt and self.cause is not None:
            raise self.cause from None
