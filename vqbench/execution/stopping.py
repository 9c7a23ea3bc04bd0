"""Why and when the work stops before its end: the time is up, or a signal came."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from vqbench.errors import Evicted, Interrupted, TimeUp

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
KILLS = (signal.SIGKILL, signal.SIGHUP, signal.SIGXCPU)  # end a process from outside, where its own faults have others
RESUMES = 2  # times that a run whose process was killed resumes by itself


class Stop:
    """Asked again and again by whoever works: has the time come to keep the work and end?

    A context manager that answers to signals. Inside :meth:`gently`, the first signal asks the work to stop cleanly
    and the second ends it at once; outside, where nothing is at stake, the first ends it. Leaving the context after
    such an end raises the error that has the right exit code: 130 after Ctrl-C, 75 after SIGTERM and SIGUSR1.
    """

    def __init__(self, seconds: float | None = None) -> None:
        self.until = None if seconds is None else time.monotonic() + seconds
        self.reason: Interrupted | None = None
        self._say: Callable[[str], None] | None = None
        self._signalled = False

    def __call__(self) -> bool:
        """Whether to stop."""
        if self.reason is None and self.until is not None and time.monotonic() >= self.until:
            self.reason = TimeUp("the time is up")
            self._tell("the time is up: the work so far is being kept")
        return self.reason is not None

    def by(self, number: int) -> None:
        """Stop because this signal came, here or to a process that works for this one."""
        name = signal.Signals(number).name
        self.reason = Interrupted("stopped; what was finished is kept, and the same command goes on")
        if number != signal.SIGINT:
            self.reason = Evicted(f"stopped by {name}; the work so far is kept, and the same command goes on")
        self._tell(f"stopping{'' if number == signal.SIGINT else f' ({name})'}: the work so far is being kept")

    @contextmanager
    def gently(self, say: Callable[[str], None]) -> Iterator[None]:
        """While inside, a first signal is told through ``say`` and otherwise only remembered."""
        self._say = say
        try:
            yield
        finally:
            self._say = None

    def _tell(self, text: str) -> None:
        if self._say:
            self._say(text)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        again, self._signalled = self._signalled, True
        if not again:
            self.by(number)
        if again or self._say is None:
            raise KeyboardInterrupt

    def __enter__(self) -> Stop:
        self._before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is KeyboardInterrupt and self.reason is not None:
            raise self.reason from None
