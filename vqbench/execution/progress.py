"""Who is told how the work goes on: bars in a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from vqbench.spec import RunSpec
from vqbench.system import console

PLAIN_EVERY = 10.0  # seconds between two plain lines of one run


class PlainProgress:
    """Plain lines: when a run starts and ends, and now and then how far each is."""

    def __init__(self, runs: int, quiet: bool = False) -> None:
        self.runs, self.quiet = runs, quiet
        self.ended = 0
        self._doing: dict[str, _Doing] = {}  # key of a run at work -> what it does

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run_started(self, run: RunSpec, doing: str) -> None:
        self._doing[run.key] = _Doing(f"{_name(run)}: {doing}")
        self.say(f"[{self._place(run)}/{self.runs}] {_name(run)}: {doing}")

    def advanced(self, run: RunSpec, done: int, total: int) -> None:
        doing, now = self._doing[run.key], time.monotonic()
        if doing.first is None:  # what was done before a restart tells nothing about the speed now
            doing.first = done
        if now - max(doing.started, doing.told) < PLAIN_EVERY or done == doing.first:
            return
        doing.told = now
        left = (now - doing.started) / (done - doing.first) * (total - done)
        self.say(f"[{self._place(run)}/{self.runs}] {doing.text} {done}/{total}, {left:.0f} s left")

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self._doing.pop(run.key, None)
        self.ended += 1
        self.say(f"[{self.ended}/{self.runs}] {_name(run)}: {outcome}")

    def say(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def _place(self, run: RunSpec) -> int:
        """The number that a run at work will have at the earliest."""
        return self.ended + 1 + list(self._doing).index(run.key)


@dataclass
class _Doing:
    """What one run does at the moment."""

    text: str
    started: float = field(default_factory=lambda: time.monotonic())
    told: float = 0.0
    first: int | None = None  # where it was when it was first heard of


class LiveProgress(PlainProgress):
    """Bars with the time left, for the suite and for every run at work."""

    def __init__(self, runs: int, screen: Any) -> None:
        super().__init__(runs)
        self._screen = screen
        self._guard = ExitStack()

    def __enter__(self) -> LiveProgress:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._bars = Bars(
            TextColumn("{task.description}", markup=False),  # a label may hold brackets
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._screen,
        )
        self._suite = self._bars.add_task("suite", total=self.runs)
        self._tasks: dict[str, Any] = {}  # key of a run at work -> its bar
        self._bars.start()
        self._guard.enter_context(console.guarded())  # rich prints above the bars what others write to the streams
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()
        self._bars.stop()

    def run_started(self, run: RunSpec, doing: str) -> None:
        self._drop(run)
        self._doing[run.key] = _Doing(f"{_name(run)}: {doing}")
        self._tasks[run.key] = self._bars.add_task(console.one_line(f"{_name(run)}: {doing}"), total=None)

    def advanced(self, run: RunSpec, done: int, total: int) -> None:
        doing, task = self._doing[run.key], self._tasks[run.key]
        if doing.first is None:
            doing.first = done
            self._bars.reset(task, total=total, completed=done - 1)
        self._bars.update(task, completed=done, total=total)

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self._drop(run)
        super().run_ended(run, outcome)
        self._bars.update(self._suite, completed=self.ended)

    def _drop(self, run: RunSpec) -> None:
        if run.key in self._tasks:
            self._bars.remove_task(self._tasks.pop(run.key))

    def say(self, text: str) -> None:
        self._bars.console.print(console.visible(text), markup=False, highlight=False)


def _name(run: RunSpec) -> str:
    return f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed}"


@contextmanager
def download(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Tells of the bytes of one download as they come: a bar in a terminal, else a line now and then."""
    if (screen := console.bars()) is not None:
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Bars(*columns, console=screen) as bars:
            task = bars.add_task(console.one_line(name), total=None)
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


def progress(runs: int, quiet: bool = False) -> PlainProgress:
    """Bars where stderr is a terminal that can draw them, else plain lines, or nothing at all if ``quiet``."""
    screen = None if quiet else console.bars()
    return PlainProgress(runs, quiet) if screen is None else LiveProgress(runs, screen)
