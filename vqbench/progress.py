"""Who is told how the work goes on: bars in a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from vqbench.spec import RunSpec

PLAIN_EVERY = 10.0  # seconds between two plain lines of one run


class Progress:
    """Plain lines, and the answer to Ctrl-C: the first asks the work to stop cleanly, the second interrupts it."""

    def __init__(self, runs: int, quiet: bool = False) -> None:
        self.runs, self.quiet = runs, quiet
        self.ended = 0
        self._stop = False
        self._doing = ""
        self._started = self._told = 0.0

    def __enter__(self) -> Progress:
        self._before = {name: signal.signal(name, self._on_signal) for name in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if self._stop:
            raise KeyboardInterrupt
        self._stop = True
        self.say("stopping: the work so far is being kept (again to stop at once)")

    def stopped(self) -> bool:
        return self._stop

    def run_started(self, run: RunSpec, doing: str) -> None:
        self._doing = f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed}: {doing}"
        self._started = time.monotonic()
        self._told = 0.0
        self.say(f"[{self.ended + 1}/{self.runs}] {self._doing}")

    def advanced(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - max(self._started, self._told) < PLAIN_EVERY:
            return
        self._told = now
        left = (now - self._started) / done * (total - done)
        self.say(f"[{self.ended + 1}/{self.runs}] {self._doing} {done}/{total}, {left:.0f} s left")

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self.ended += 1
        self.say(f"[{self.ended}/{self.runs}] {run.quantizer.name} on {run.dataset.name}, seed {run.seed}: {outcome}")

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)


class LiveProgress(Progress):
    """Bars with the time left, for the suite and for what the current run does."""

    def __enter__(self) -> LiveProgress:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._suite = self._bars.add_task("suite", total=self.runs)
        self._current: Any = None
        self._bars.start()
        super().__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        super().__exit__()

    def run_started(self, run: RunSpec, doing: str) -> None:
        if self._current is not None:
            self._bars.remove_task(self._current)
        text = f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed}: {doing}"
        self._current = self._bars.add_task(text, total=None)
        self._at = 0

    def advanced(self, done: int, total: int) -> None:
        if self._at == 0:  # what was done before a restart tells nothing about the speed now
            self._bars.reset(self._current, total=total, completed=done - 1)
        self._at = done
        self._bars.update(self._current, completed=done, total=total)
        self._bars.update(self._suite, completed=self.ended + 0.5 * done / total)

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        if self._current is not None:
            self._bars.remove_task(self._current)
            self._current = None
        super().run_ended(run, outcome)
        self._bars.update(self._suite, completed=self.ended)

    def say(self, text: str) -> None:
        self._bars.console.print(text, markup=False, highlight=False)


@contextmanager
def download(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Tells of the bytes of one download as they come: a bar in a terminal, else a line now and then."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(name, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)
        return
    told = time.monotonic()

    def tell(done: int, total: int | None) -> None:
        nonlocal told
        if time.monotonic() - told > PLAIN_EVERY:
            told = time.monotonic()
            of = f" of {total / 1e6:.0f}" if total else ""
            print(f"{name}: {done / 1e6:.0f}{of} MB", file=sys.stderr, flush=True)

    yield tell


def progress(runs: int, quiet: bool = False) -> Progress:
    """Bars where stderr is a terminal, else plain lines, or nothing at all if ``quiet``."""
    return LiveProgress(runs) if sys.stderr.isatty() and not quiet else Progress(runs, quiet)
