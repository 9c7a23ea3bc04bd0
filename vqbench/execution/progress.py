"""Progress of runs and downloads on stderr: bars, or plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from vqbench.spec import RunSpec
from vqbench.system import console

PLAIN_EVERY = 10.0  # seconds between two plain lines about one run


class PlainProgress:
    """Plain lines: when a run starts and ends, and its progress every few seconds."""

    def __init__(self, runs: int, quiet: bool = False) -> None:
        self.runs, self.quiet = runs, quiet
        self.ended = 0
        self._active: dict[str, _Activity] = {}  # by key of the run

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run_started(self, run: RunSpec, activity: str) -> None:
        self._active[run.key] = _Activity(f"{_name(run)}: {activity}")
        self.log(f"[{self._number(run)}/{self.runs}] {_name(run)}: {activity}")

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        activity, now = self._active[run.key], time.monotonic()
        if activity.first_done is None:  # updates before a restart say nothing about the speed now
            activity.first_done = done
        if now - max(activity.started, activity.last_shown) < PLAIN_EVERY or done == activity.first_done:
            return
        activity.last_shown = now
        left = (now - activity.started) / (done - activity.first_done) * (total - done)
        self.log(f"[{self._number(run)}/{self.runs}] {activity.text} {done}/{total}, {left:.0f} s left")

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self._active.pop(run.key, None)
        self.ended += 1
        self.log(f"[{self.ended}/{self.runs}] {_name(run)}: {outcome}")

    def log(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def _number(self, run: RunSpec) -> int:
        """Return the number of an active run, as if runs ended in their order."""
        return self.ended + 1 + list(self._active).index(run.key)


@dataclass
class _Activity:
    """The current activity of one run."""

    text: str
    started: float = field(default_factory=lambda: time.monotonic())
    last_shown: float = 0.0
    first_done: int | None = None  # progress at the first report


class LiveProgress(PlainProgress):
    """Bars with the time left, for the suite and for every active run."""

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
        self._suite_bar = self._bars.add_task("suite", total=self.runs)
        self._run_bars: dict[str, Any] = {}  # by key of the run
        self._bars.start()
        self._guard.enter_context(console.guarded())  # rich prints above the bars what others write to the streams
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()
        self._bars.stop()

    def run_started(self, run: RunSpec, activity: str) -> None:
        self._remove_bar(run)
        self._active[run.key] = _Activity(f"{_name(run)}: {activity}")
        self._run_bars[run.key] = self._bars.add_task(console.one_line(f"{_name(run)}: {activity}"), total=None)

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        activity, bar = self._active[run.key], self._run_bars[run.key]
        if activity.first_done is None:
            activity.first_done = done
            self._bars.reset(bar, total=total, completed=done - 1)
        self._bars.update(bar, completed=done, total=total)

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self._remove_bar(run)
        super().run_ended(run, outcome)
        self._bars.update(self._suite_bar, completed=self.ended)

    def _remove_bar(self, run: RunSpec) -> None:
        if run.key in self._run_bars:
            self._bars.remove_task(self._run_bars.pop(run.key))

    def log(self, text: str) -> None:
        self._bars.console.print(console.visible(text), markup=False, highlight=False)


def _name(run: RunSpec) -> str:
    return f"{run.quantizer.name} on {run.dataset.name}, seed {run.seed}"


def run_progress(runs: int, quiet: bool = False) -> PlainProgress:
    """Return bars if stderr is a terminal that draws them, else plain lines.

    Nothing is shown if ``quiet``.
    """
    screen = None if quiet else console.bars()
    return PlainProgress(runs, quiet) if screen is None else LiveProgress(runs, screen)


@contextmanager
def download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show the bytes of one download: a bar, or a line every few seconds.

    Yields the function to call with ``(done, total)`` bytes; the total may be None.
    """
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
            bar = bars.add_task(console.one_line(name), total=None)
            yield lambda done, total: bars.update(bar, completed=done, total=total)
        return
    last_shown = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal last_shown
        if time.monotonic() - last_shown > PLAIN_EVERY:
            last_shown = time.monotonic()
            of_total = f" of {total / 1e6:.0f}" if total else ""
            print(f"{name}: {done / 1e6:.0f}{of_total} MB", file=sys.stderr, flush=True)

    yield show
