"""Run suites from Python: train and evaluate what is missing."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench.api.arguments import device_name, function, seconds, text_or_path, whole_number
from vqbench.api.suites import Suite, as_suite
from vqbench.errors import Interrupted, RunError, TimeUp, UsageError, counted, named
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from pandas import DataFrame

    from vqbench.execution.messages import ProgressListener
    from vqbench.execution.suite_runner import Listen, RunOptions
    from vqbench.reporting.run_states import RunState
    from vqbench.spec import Job, RunSpec

FAILED = "failed"  # the beginning of the state of a run that failed
LISTED = 10  # runs that one text lists
LOGGED = 20  # lines of the log that a result keeps, the last ones


@dataclass(frozen=True)
class RunProgress:
    """One report about a run: what it does, and how far it is."""

    key: str
    label: str  # of its row; of a second stage, its recipe and the row it builds on
    dataset: str
    seed: int
    activity: str  # such as training; once the run has ended, how: "done" or "FAILED: ..."
    done: int  # updates or images of this activity
    total: int  # 0 before the first report
    ended: int  # runs that have ended
    runs: int  # runs that lacked something


@dataclass(frozen=True)
class SuiteResult:
    """What :func:`run` has left behind: the state of every run of the suite."""

    suite: Suite
    store: Path
    states: Sequence[RunState]  # row, dataset, seed, key and state of each run, in the order of the table
    notes: Sequence[str] = ()  # sentences for a person: files left out, faults of this machine
    time_up: bool = False  # whether the time limit ended the work; the same call resumes it

    @property
    def done(self) -> list[str]:
        """The keys of complete runs."""
        return [each.key for each in self._distinct() if each.state == "done"]

    @property
    def failed(self) -> dict[str, str]:
        """The reason of each failure by the run's key.

        ``retry_failed=True`` tries these runs again.
        """
        return {
            each.key: each.state.removeprefix(f"{FAILED}: ")
            for each in self._distinct()
            if each.state.startswith(FAILED)
        }

    @property
    def left(self) -> dict[str, str]:
        """The state of all other runs by key, such as "not begun".

        The same call does them.
        """
        ended = {*self.done, *self.failed}
        return {each.key: each.state for each in self._distinct() if each.key not in ended}

    def require_done(self) -> None:
        """Raise RunError unless every run is done."""
        if problems := self._problems():
            raise RunError("; ".join(problems))

    def table(self, protocol: str | None = None) -> DataFrame:
        """Return the table of the suite from this store; see :func:`vqbench.table`."""
        from vqbench.api.results import table

        return table(self.suite, store=self.store, results=self.store, protocol=protocol)

    def results(self) -> DataFrame:
        """Return all values of the suite from this store; see :func:`vqbench.results`."""
        from vqbench.api.results import results

        return results(self.store, suite=self.suite)

    def _distinct(self) -> list[RunState]:
        return list({each.key: each for each in self.states}.values())

    def _problems(self) -> list[str]:
        """A sentence for each run that is not done, at most ten."""
        runs = [each for each in self._distinct() if each.state != "done"]
        shown = [f"{each.row} on {each.dataset}, seed {each.seed} ({each.key}): {each.state}" for each in runs[:LISTED]]
        return [*shown, *([f"and {counted(len(runs) - LISTED, 'more run')}"] if len(runs) > LISTED else [])]

    def __str__(self) -> str:
        counts = f"{len(self.done):,} done, {len(self.failed):,} failed, {len(self.left):,} left"
        head = f"{self.suite.name} in {self.store}: {counts}{' (the time is up)' if self.time_up else ''}"
        return "\n".join([head, *(f"  {line}" for line in (*self._problems(), *self.notes))])

    __repr__ = __str__


def run(
    suite: Suite | str | Path | Mapping[str, Any],
    *,
    store: str | Path = "runs",
    device: str = "auto",
    jobs: int | None = None,
    devices: int | None = None,
    time_limit: float | str | None = None,
    timeout: float | str | None = None,
    retry_failed: bool = False,
    deterministic: bool = False,
    capture: bool = False,
    logger: str | None = None,
    offline: bool = False,
    on_progress: Callable[[RunProgress], None] | None = None,
    quiet: bool = True,
) -> SuiteResult:
    """Train and evaluate the runs of a suite that ``store`` lacks, cheapest first.

    Runs are trained in processes of their own, so that a crash ends one run alone; no ``if __name__ == "__main__"`` is
    needed, and a notebook stays responsive to an interrupt, after which the same call resumes. A run that fails is part
    of the result and raises nothing. Clusters are used by ``vqbench run --executor``.

    Args:
        suite: a suite of :func:`load_suite`, or what it takes.
        store: folder of the runs, made if it does not exist.
        device: auto, cpu, cuda or cuda:N.
        jobs: runs side by side, one process each; None: one per GPU, or one. 0: in this process, for debuggers.
        devices: devices that share each run; None: one.
        time_limit: seconds, or a text such as "30s", "8m" or "1h30m", after which the work is kept and left.
        timeout: likewise, of each run, which then counts as failed.
        retry_failed: try again runs that failed earlier.
        deterministic: make a GPU compute the same bits every time; CPUs always do.
        capture: replay each update on a GPU as one CUDA graph, where it can be captured; not yet tried on a GPU.
        logger: receives losses every 50 updates, every epoch, and the values: tensorboard, FILE.py:name or
            package.module:name; see :class:`RunLogger`.
        offline: fetch no data and no weights; fail early and name what is missing.
        on_progress: called in this process with every report about a run.
        quiet: show no progress on stderr; False shows that of ``vqbench run``.

    Raises:
        UsageError: for a suite or an argument that is wrong; nothing was started.
        AssetError: for data or weights that cannot be had.
        StoreError: if the store cannot be read or written.
        KeyboardInterrupt: after Ctrl-C, as Evicted is after SIGTERM; the work so far is kept.

    >>> import vqbench
    >>> suite = vqbench.load_suite("quick", only="vq", epochs=1, subset=640, test_images=100, set={"metrics": ["psnr"]})
    >>> vqbench.run(suite, store="runs")
    quick_reduced in runs: 1 done, 0 failed, 0 left
    """
    how = _options(device, jobs, devices, timeout, retry_failed, deterministic, capture, logger, offline, quiet)
    limit, report = seconds("time_limit", time_limit), function("on_progress", on_progress)
    folder = path_of(text_or_path("store", store, "the folder of the runs"))
    return _carry_out(as_suite(suite), folder, how, limit, report)


def _options(
    device: str,
    jobs: int | None,
    devices: int | None,
    timeout: float | str | None,
    retry_failed: bool,
    deterministic: bool,
    capture: bool,
    logger: str | None,
    offline: bool,
    quiet: bool,
) -> RunOptions:
    """Check the arguments of :func:`run` that say how. Raises UsageError."""
    from vqbench.execution import loggers
    from vqbench.execution.executors.executor_options import ExecutorOptions
    from vqbench.execution.suite_runner import RunOptions

    jobs = None if jobs is None else whole_number("jobs", jobs, 0)
    devices = None if devices is None else whole_number("devices", devices)
    if timeout is not None and jobs == 0:
        raise UsageError("timeout stops the process of a run, and jobs=0 starts none; leave one of them out")
    if logger is not None and not isinstance(logger, str):
        raise UsageError(f"logger={logger!r}: give a name: tensorboard, FILE.py:name or package.module:name")
    device = device_name(device)
    ExecutorOptions().check(device, jobs, devices)
    return RunOptions(
        device=device,
        jobs=jobs,
        timeout=seconds("timeout", timeout),
        retry_failed=retry_failed,
        quiet=quiet,
        devices=devices,
        logger=loggers.checked_name(logger) if logger else None,
        deterministic=deterministic,
        capture=capture,
        offline=offline,
    )


def _carry_out(
    suite: Suite, folder: Path, options: RunOptions, limit: float | None, report: Callable[[RunProgress], None] | None
) -> SuiteResult:
    """Run what ``folder`` lacks of ``suite`` and return the state of its runs."""
    from vqbench import assets
    from vqbench.execution.stopping import Stop
    from vqbench.execution.suite_runner import run_suites
    from vqbench.reporting.run_states import run_states
    from vqbench.store.results import ResultStore

    notes: list[str] = []
    log: deque[str] = deque(maxlen=LOGGED)
    try:
        with Stop(limit) as stop, assets.no_downloads(options.offline):
            plan = suite.resolve([ResultStore(folder)], refresh=True)
            if report or options.quiet:
                options = replace(options, listen=_listen(report, log))
            options = replace(options, plugins=suite.plugins)
            store = ResultStore(folder, assets.cache_folder() / "records")
            summary = run_suites([plan], store, options, stop, notes.append)
    except Interrupted as error:
        if type(error) is Interrupted:  # by Ctrl-C
            raise KeyboardInterrupt(str(error)) from None
        raise
    states = run_states(plan, ResultStore(folder))
    recorded = [each.key for each in states if each.state.startswith(FAILED)]
    ended = summary.failed if summary else ()
    notes += [sentence for sentence in ended if not any(f"({key})" in sentence for key in recorded)]
    return SuiteResult(suite, folder, states, (*notes, *log), isinstance(stop.cause, TimeUp))


def _listen(report: Callable[[RunProgress], None] | None, log: deque[str]) -> Listen:
    """Open listeners that call ``report`` and keep the last lines in ``log``."""

    @contextmanager
    def listen(jobs: Sequence[Job]) -> Iterator[ProgressListener]:
        yield _Listener(report, log, jobs)

    return listen


class _Listener:
    """Passes the progress of runs to a function of the user's."""

    def __init__(self, report: Callable[[RunProgress], None] | None, log: deque[str], jobs: Sequence[Job]) -> None:
        self._report, self._log = report, log
        self._labels = {job.run.key: job.row for job in jobs}
        self._activities: dict[str, str] = {}  # by key
        self.ended = 0

    def run_started(self, run: RunSpec, activity: str) -> None:
        self._activities[run.key] = activity
        self._pass_on(run, activity, 0, 0)

    def run_advanced(self, run: RunSpec, done: int, total: int) -> None:
        self._pass_on(run, self._activities.get(run.key, ""), done, total)

    def run_ended(self, run: RunSpec, outcome: str) -> None:
        self.ended += 1
        self._pass_on(run, outcome, 0, 0)

    def log(self, text: str) -> None:
        self._log.append(text)

    def _pass_on(self, run: RunSpec, activity: str, done: int, total: int) -> None:
        """Call the function; its error is a warning, since no run may fail by it."""
        if self._report is None:
            return
        names = run.key, self._labels[run.key], run.dataset.name, run.seed
        try:
            self._report(RunProgress(*names, activity, done, total, self.ended, len(self._labels)))
        except (Exception, SystemExit) as error:
            self._report = None
            warnings.warn(f"on_progress failed and is not called again: {named(error)}", stacklevel=2)
