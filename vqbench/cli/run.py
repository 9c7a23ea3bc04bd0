"""``vqbench run``: train and evaluate what suites lack, then print their tables."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, suites_or_default
from vqbench.cli.output import note
from vqbench.errors import TimeUp, UsageError, counted, sentence, shortened
from vqbench.system.durations import parse_duration

if TYPE_CHECKING:
    from vqbench.execution.stopping import Stop
    from vqbench.execution.suite_runner import RunOptions, SuiteSummary
    from vqbench.planning.plan import Plan

Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=0,
        metavar="N",
        show_default="one per GPU, or 1",
        help="Runs side by side, one process each, on the GPUs in turn or on shares of the cores. 0: in this process, "
        "for debuggers.",
    ),
]
Devices = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        show_default="1",
        help="Devices that share each run, one process each: GPUs, or shares of the cores.",
    ),
]
TimeLimit = Annotated[
    str | None,
    typer.Option(metavar="TIME", help="Stop after 30s, 8m, 2h or 1h30m and keep the work; run again to resume."),
]
Timeout = Annotated[str | None, typer.Option(metavar="TIME", help="Stop a run that takes longer; it counts as failed.")]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try failed runs again.")]
Logger = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Log losses, epochs and values to tensorboard, or to your FILE.py:name or package.module:name.",
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="Make a GPU compute the same bits every time, so that a resumed run equals an uninterrupted one; slower. "
        "CPUs always do.",
    ),
]
Capture = Annotated[
    bool,
    typer.Option(
        "--capture",
        help="Replay each update on a GPU as one CUDA graph, to the same weights but for rounding. What cannot be "
        "captured is computed as usual, and named. Not yet tried on a GPU.",
    ),
]
Executor = Annotated[str, typer.Option(metavar="NAME", help="local (this machine), ray or slurm (a cluster).")]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", show_default="start a cluster", help="Ray: the cluster; auto for the one on this machine."
    ),
]
CpusPerRun = Annotated[
    int | None, typer.Option(min=1, metavar="N", show_default="1 per device", help="Ray: cores, and threads, per run.")
]
GpusPerRun = Annotated[
    float | None,
    typer.Option(min=0, metavar="N", show_default="1 per device, if any", help="Ray: GPUs per run, may be a fraction."),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Slurm: time=2h (of a task; 1h), gpus=1, cpus=4, parallel=8 (tasks), partition=gpu, ...",
    ),
]


def run(
    suites: shared.Suites = None,
    store: shared.Store = shared.RUNS,
    device: shared.Device = "auto",
    jobs: Jobs = None,
    devices: Devices = None,
    time_limit: TimeLimit = None,
    timeout: Timeout = None,
    retry_failed: RetryFailed = False,
    only: shared.Only = None,
    skip: shared.Skip = None,
    seeds: shared.Seeds = None,
    metrics: shared.Metrics = None,
    sets: shared.Sets = None,
    plugin: shared.RowPlugins = None,
    epochs: shared.Epochs = None,
    batch_size: shared.BatchSize = None,
    subset: shared.Subset = None,
    test_images: shared.TestImages = None,
    executor: Executor = "local",
    address: Address = None,
    cpus_per_run: CpusPerRun = None,
    gpus_per_run: GpusPerRun = None,
    slurm: Slurm = None,
    deterministic: Deterministic = False,
    capture: Capture = False,
    logger: Logger = None,
    offline: shared.Offline = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train and evaluate the missing runs, then print the tables."""
    from vqbench import assets
    from vqbench.execution import loggers
    from vqbench.execution.executors.executor_options import ExecutorOptions
    from vqbench.execution.stopping import Stop
    from vqbench.execution.suite_runner import RunOptions

    if timeout is not None and jobs == 0:
        raise UsageError("--timeout stops the process of a run, and --jobs 0 starts none; leave one of them out")
    limit, run_limit = (None if words is None else parse_duration(words) for words in (time_limit, timeout))
    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    with Stop(limit) as stop, assets.no_downloads(offline):
        where = ExecutorOptions(executor, address, cpus_per_run, gpus_per_run, tuple(slurm or ()))
        where.check(device, jobs, devices)
        options = RunOptions(
            device=device,
            jobs=jobs,
            timeout=run_limit,
            retry_failed=retry_failed,
            quiet=quiet,
            plugins=tuple(plugin or ()),
            devices=devices,
            executor=where,
            logger=loggers.checked_name(logger) if logger else None,
            deterministic=deterministic,
            capture=capture,
            offline=offline,
        )
        plans = [selection.plan(name, store, refresh=True) for name in suites_or_default(suites, "running")]
        raise typer.Exit(run_and_print(plans, store, options, stop))


def run_and_print(plans: Sequence[Plan], folder: Path, options: RunOptions, stop: Stop) -> int:
    """Carry out ``plans``, print their tables and return the exit code.

    The code is 1 if some runs failed, else 0. Raises Interrupted, with its own exit code, if the work was stopped
    before its end.
    """
    from vqbench.assets import cache_folder
    from vqbench.cli.table import table_text
    from vqbench.execution.suite_runner import run_suites
    from vqbench.reporting.run_states import remaining
    from vqbench.store.results import ResultStore

    store = ResultStore(folder, cache_folder() / "records")
    summary = run_suites(plans, store, options, stop, note)
    if summary is None:  # a rank other than the first, which prints nothing
        return 0
    if not summary.lacking:
        runs = len({run.key for plan in plans for run in plan.runs()})
        done = "its run is" if runs == 1 else f"all {runs:,} runs are"
        print(f"{', '.join(plan.suite.name for plan in plans)}: nothing left to do, {done} done", file=sys.stderr)
    for plan in plans:
        print(table_text(plan, [ResultStore(folder)], "text"), end="")
    for text in _failures(summary, options.quiet):
        note(sentence(text))
    left = remaining(plans, store, options.retry_failed)
    if stop.cause and left:
        counts = ", ".join(f"{number} {kind}" for kind, number in left.items())
        raise TimeUp(f"the time limit is reached; left: {counts}; the same command resumes")
    return 1 if summary.failed or summary.failed_earlier else 0


def _failures(summary: SuiteSummary, quiet: bool) -> list[str]:
    """Return the sentences about failed runs, printed below the tables.

    ``quiet``: the reasons were not printed while the runs failed.
    """
    failed = list(summary.failed)
    if failed and not quiet:
        failed = [f"{counted(len(failed), 'run')} failed, for the reason in the lines above"]
    if earlier := summary.failed_earlier:
        runs = counted(len(earlier), "run")
        failed.append(f"{runs} failed earlier ({shortened(', '.join(earlier), 120)}); --retry-failed tries again")
    return failed
