"""Progress of runs and downloads on stderr: bars, or plain lines."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from vqbench.execution.messages import DONE
from vqbench.execution.time_left import TimeLeft
from vqbench.spec import Job, RunSpec
from vqbench.system import console
from vqbench.system.durations import approximate

PLAIN_EVERY = 10.0  # seconds between two plain lines about one run
BAR_WIDTH = 16  # columns


class PlainProgress:
    """Plain lines: when a run starts and ends, and its progress every few seconds.

    A run has the number of its place in ``jobs`` from start to end, however many run at once.

    Args:
        jobs: the runs to show, in their order.
        quiet: show nothing.
        expected: expected seconds of each run by its key, for the time left of all.
        headline: returns what to show of a finished run beside its time, such as "PSNR 24.05".
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        quiet: bool = False,
        expected: Mapping[str, float] | None = None,
        headline: Callable[[RunSpec], str] = lambda run: "",
    ) -> None:
        self.runs, self.quiet, self._headline = len(jobs), quiet, headline
        self.ended = 0
        self._numbers = {job.run.key: number for number, job in enumerate(jobs, 1)}
        self._names = dict(zip(self._numbers, short_names(jobs), strict=True))
        self._active: dict[str, _Activity] = {}  # by key of the run
        self._starts: dict[str, float] = {}  # key -> monotonic time at which the run was started
        self._time_left = TimeLeft({job.run.key: (expected or {}).get(job.run.key, math.inf) for job in jobs})

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run_started(self, run: RunSpec, activity: str) -> None:
        self._begin(run, activity)
        self.log(f"{self._name(run)}: {activity}")

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        activity = self._advance(run, done, total)
        now = time.monotonic()
        if now - max(activity.started, activity.last_shown) < PLAIN_EVERY or not activity.advanced():
            return
        activity.last_shown = now
        left = f", {approximate(activity.seconds_left())} left" + self._all_left(" (all runs: {} left)")
        self.log(f"{self._name(run)}: {activity.text} {done:,}/{total:,}{left}")

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self._end(run)
        if outcome == DONE:
            outcome = self._done(run) + self._all_left(" (all runs: {} left)")
        self.log(f"{self._name(run)}: {outcome}")

    def log(self, text: str) -> None:
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def _begin(self, run: RunSpec, activity: str) -> None:
        self._time_left.begin()
        self._starts.setdefault(run.key, time.monotonic())
        self._active[run.key] = _Activity(activity)

    def _advance(self, run: RunSpec, done: int, total: int) -> _Activity:
        activity = self._active[run.key]
        if activity.first_done is None:  # updates before a restart say nothing about the speed now
            activity.first_done = done
        activity.done, activity.total = done, total
        self._time_left.advance(run.key, activity.text == "training", done / total if total else 1.0)
        return activity

    def _end(self, run: RunSpec) -> None:
        self._active.pop(run.key, None)
        self.ended += 1
        self._time_left.end(run.key)

    def _name(self, run: RunSpec) -> str:
        return f"[{self._numbers[run.key]}/{self.runs}] {self._names[run.key]}"

    def _done(self, run: RunSpec) -> str:
        """Return what to show of a run that was finished now."""
        started = self._starts.get(run.key)
        took = "" if started is None else f" in {approximate(time.monotonic() - started)}"
        return ", ".join(filter(None, [f"{DONE}{took}", self._headline(run)]))

    def _all_left(self, text: str) -> str:
        """Return ``text`` with the time left of all runs, if it is known and of interest."""
        seconds = self._time_left.seconds()
        if seconds is None or self.runs == 1 or self.ended == self.runs:
            return ""
        return text.format(approximate(max([seconds, *(each.seconds_left() for each in self._active.values())])))


@dataclass
class _Activity:
    """The current activity of one run."""

    text: str
    started: float = field(default_factory=lambda: time.monotonic())
    last_shown: float = 0.0
    first_done: int | None = None  # progress at the first report
    done: int = 0  # and at the last one
    total: int = 0

    def advanced(self) -> bool:
        """Whether two reports tell the speed."""
        return self.first_done is not None and self.done > self.first_done

    def seconds_left(self) -> float:
        """Return the seconds left, or 0 if the speed is unknown."""
        if not self.advanced():
            return 0.0
        return (time.monotonic() - self.started) / (self.done - (self.first_done or 0)) * (self.total - self.done)


class LiveProgress(PlainProgress):
    """Bars with the time left, for all runs together and for every active one."""

    def __init__(
        self,
        jobs: Sequence[Job],
        screen: Any,
        expected: Mapping[str, float] | None = None,
        headline: Callable[[RunSpec], str] = lambda run: "",
    ) -> None:
        super().__init__(jobs, expected=expected, headline=headline)
        self._screen = screen
        self._guard = ExitStack()

    def __enter__(self) -> LiveProgress:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bars
        from rich.table import Column

        self._bars = Bars(
            TextColumn(  # a label may hold brackets, and be longer than the terminal is wide
                "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
            ),
            TextColumn("{task.fields[activity]}", markup=False),
            BarColumn(BAR_WIDTH),
            TextColumn("{task.fields[count]}", justify="right"),
            TextColumn("{task.fields[left]}", justify="right"),
            console=self._screen,
            expand=True,
            transient=True,  # nothing is left on the screen but the lines
        )
        self._run_bars: dict[str, Any] = {}  # by key of the run
        self._all_bar = self._add_bar("all runs", "", visible=self.runs > 1)
        self._update_all()
        self._bars.start()
        self._guard.enter_context(console.guarded())  # rich prints above the bars what others write to the streams
        return self

    def __exit__(self, *_: object) -> None:
        self._guard.close()
        self._bars.stop()

    def run_started(self, run: RunSpec, activity: str) -> None:
        self._remove_bar(run)
        self._begin(run, activity)
        self._run_bars[run.key] = self._add_bar(console.one_line(self._name(run)), console.one_line(activity))

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        activity = self._advance(run, done, total)
        left = f"{approximate(activity.seconds_left())} left" if activity.advanced() else ""
        bar = self._run_bars[run.key]
        self._bars.update(bar, completed=done, total=total, count=f"{done:,}/{total:,}", left=left)
        self._update_all()

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self._remove_bar(run)
        super().run_ended(run, outcome)
        self._update_all()

    def log(self, text: str) -> None:
        self._bars.console.print(console.visible(text), markup=False, highlight=False)

    def _add_bar(self, name: str, activity: str, visible: bool = True) -> Any:
        return self._bars.add_task(name, total=None, visible=visible, activity=activity, count="", left="")

    def _remove_bar(self, run: RunSpec) -> None:
        if run.key in self._run_bars:
            self._bars.remove_task(self._run_bars.pop(run.key))

    def _update_all(self) -> None:
        self._bars.update(
            self._all_bar,
            completed=self._time_left.share(),
            total=1.0,
            count=f"{self.ended}/{self.runs}",
            left=self._all_left("{} left"),
        )

    def _all_left(self, text: str) -> str:
        return super()._all_left(text) if text == "{} left" else ""  # the bar of all runs shows it


def short_names(jobs: Sequence[Job]) -> list[str]:
    """Name each job by its row, with data set and seed only where they differ.

    A second stage is named by its recipe as well.
    """
    datasets, seeds = {job.run.dataset.name for job in jobs}, {job.run.seed for job in jobs}
    return [
        job.row + f" on {job.run.dataset.name}" * (len(datasets) > 1) + f", seed {job.run.seed}" * (len(seeds) > 1)
        for job in jobs
    ]


def run_progress(
    jobs: Sequence[Job],
    quiet: bool = False,
    expected: Mapping[str, float] | None = None,
    headline: Callable[[RunSpec], str] = lambda run: "",
) -> PlainProgress:
    """Return bars if stderr is a terminal that draws them, else plain lines.

    Nothing is shown if ``quiet``. See :class:`PlainProgress` for the other arguments.
    """
    screen = None if quiet else console.bars()
    if screen is None:
        return PlainProgress(jobs, quiet, expected, headline)
    return LiveProgress(jobs, screen, expected, headline)


@contextmanager
def image_progress(activity: str, quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show how many images are done: a bar, or a line every few seconds.

    Yields the function to call with ``(done, total)`` images.
    """
    current = _Activity(activity)

    def advance(done: int, total: int) -> str:
        current.first_done = done if current.first_done is None else current.first_done
        current.done, current.total = done, total
        return f"{approximate(current.seconds_left())} left" if current.advanced() and done < total else ""

    if quiet or (screen := console.bars()) is None:

        def show(done: int, total: int) -> None:
            left = advance(done, total)
            now = time.monotonic()
            if not quiet and left and now - max(current.started, current.last_shown) >= PLAIN_EVERY:
                current.last_shown = now
                print(f"{activity}: {done:,}/{total:,}, {left}", file=sys.stderr, flush=True)

        yield show
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = ("{task.description}", "{task.fields[count]}", "{task.fields[left]}")
    texts = [TextColumn(each, markup=False) for each in columns]
    with Bars(texts[0], BarColumn(), *texts[1:], console=screen, transient=True) as bars, console.guarded():
        bar = bars.add_task(activity, total=None, count="", left="")

        def draw(done: int, total: int) -> None:
            left = advance(done, total)
            bars.update(bar, completed=done, total=total, count=f"{done:,}/{total:,}", left=left)

        yield draw


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
        with ExitStack() as shown:  # what is here already needs no bar
            bars = Bars(*columns, console=screen, transient=True)
            bar = bars.add_task(console.one_line(name), total=None)

            def draw(done: int, total: int | None) -> None:
                if not bars.live.is_started:
                    shown.enter_context(bars)
                bars.update(bar, completed=done, total=total)

            yield draw
        return
    last_shown = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal last_shown
        if time.monotonic() - last_shown > PLAIN_EVERY:
            last_shown = time.monotonic()
            of_total = f" of {total / 1e6:.0f}" if total else ""
            print(f"{name}: {done / 1e6:.0f}{of_total} MB", file=sys.stderr, flush=True)

    yield show
