"""``vqbench status``: how far each run of a suite is."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, require_folder, suite_or_default
from vqbench.cli.output import print_json, print_other_suites
from vqbench.errors import counted
from vqbench.system.durations import format_duration

if TYPE_CHECKING:
    from vqbench.reporting.run_states import RunState


def status(
    suite: shared.Suite = None,
    store: shared.StoreToRead = shared.RUNS,
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
    as_json: shared.Json = False,
) -> None:
    """Show how far each run of a suite is, and what to do next.

    A run is done, running, stopped, failed or not begun. Image folders are compared by their times only: the next
    `vqbench run` finds an image that was rewritten in place.
    """
    from vqbench.reporting import other_settings
    from vqbench.reporting.run_states import counts, run_states
    from vqbench.store.results import ResultStore

    require_folder(store)
    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    name = suite_or_default(suite, "showing")
    results = ResultStore(store)
    plan = selection.plan(name, store)
    states = run_states(plan, results)
    command = next_command(states, name, store, selection.options())
    others = other_settings.other_settings(name, plan, results)
    root = "" if store == shared.RUNS else str(store)
    if as_json:
        print_json(
            {
                "suite": plan.suite.name,
                "counts": counts(states),
                "runs": [asdict(each) for each in states],
                "next": command,
                "other_settings": [
                    {"finished": each.finished, "runs": each.runs, "command": each.command("status", name, root)}
                    for each in others
                ],
            }
        )
        return
    print(status_text(plan.suite.heading, states, command))
    if suite is None:
        print_other_suites("status", plan, results, ["--store", root] if root else [])
    if others:
        print(other_settings.sentence("status", name, store.name, others, root))


def next_command(states: Sequence[RunState], suite: str, store: Path, options: Sequence[str]) -> str:
    """Return the command that does the runs that are left, or shows them all."""
    words = {each.word for each in states}
    what = ["table"] if words == {"done"} else ["run"] if words - {"done", "failed"} else ["run", "--retry-failed"]
    where = [] if store == shared.RUNS else ["--store", str(store)]
    return shlex.join(["vqbench", what[0], suite, *where, *what[1:], *options])


def status_text(title: str, states: Sequence[RunState], command: str) -> str:
    """Write one line per run, then counts, reasons of failures and the next command."""
    from vqbench.reporting.run_states import counts
    from vqbench.system.output import fold, grid, shared_columns

    columns: dict[str, list[Any]] = {
        "row": [each.row for each in states],
        "data set": [each.dataset for each in states],
        "seed": [str(each.seed) for each in states],
        "state": [each.word for each in states],
        "seconds": [f"{'' if each.seconds is None else f'{each.seconds:,.0f}':>7}" for each in states],
        "date": [(each.date or "")[:10] for each in states],
        "key": [each.key for each in states],
    }
    about = shared_columns(columns, "data set", "seed")
    finished = {each.key: each for each in states if each.seconds is not None}
    summary = ", ".join(f"{number:,} {word}" for word, number in counts(states).items())
    lines = [
        *([fold(title)] if title else []),
        *([fold(about)] if about else []),
        "",
        grid(list(columns), zip(*columns.values(), strict=True)),
        "",
        fold(f"{counted(len({each.key for each in states}), 'run')}: {summary}.{_time_spent(finished.values())}"),
    ]
    details = dict.fromkeys(f"{each.row}, seed {each.seed}: {each.state}" for each in states if each.state != each.word)
    lines += [fold(detail, "  ") for detail in details]
    return "\n".join([*lines, f"Next: {command}"])


def _time_spent(finished: Iterable[RunState]) -> str:
    """Return seconds of training and the last date of the runs that have a record."""
    done = list(finished)
    if not done:
        return ""
    seconds = sum(each.seconds or 0.0 for each in done)
    last = max(each.date or "" for each in done)
    when = f"; the last one finished {last[:10]} {last[11:16]} UTC" if last else ""
    return f" Trained for {format_duration(seconds)}{when}."
