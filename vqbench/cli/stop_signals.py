"""Signals that stop a command at whatever moment, also while it is imported."""

from __future__ import annotations

import signal
from types import FrameType

from vqbench.errors import Evicted, Interrupted

NAMES = ("SIGINT", "SIGTERM", "SIGUSR1")  # the last is missing on Windows


class StopSignals:
    """Signals that stop a command: the first raises KeyboardInterrupt and is kept.

    Foreign code may turn that into an error of its own, as modules written in C do while they are imported.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    def handle(self) -> None:
        """Handle the signals from now on.

        Those that the parent process has ignored stay ignored.
        """
        for number in self._numbers():
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_signal)

    def ignore(self) -> None:
        """Ignore the signals from now on, while Python shuts down."""
        for number in self._numbers():
            signal.signal(number, signal.SIG_IGN)

    def error(self) -> Interrupted:
        """Return the error that has the sentence and the exit code for the signal."""
        if self.number is None or self.number == signal.SIGINT:
            return Interrupted("stopped; what was finished is kept")
        return Evicted(f"stopped by {signal.Signals(self.number).name}; what was finished is kept")

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        self.number = self.number or number
        raise KeyboardInterrupt

    @staticmethod
    def _numbers() -> list[int]:
        return [getattr(signal, name) for name in NAMES if hasattr(signal, name)]


STOP_SIGNALS = StopSignals()
