"""``vqbench merge``: the runs of two results folders in one."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import given_path, output_folder
from vqbench.cli.output import print_json
from vqbench.errors import UsageError, counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vqbench.store.merging import MergedRun

First = Annotated[
    Path, typer.Argument(metavar="A", parser=given_path, help="A results folder; without -o, written to.")
]
Second = Annotated[Path, typer.Argument(metavar="B", parser=given_path, help="Another one, which is only read.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o", "--output", metavar="FOLDER", parser=output_folder, help="Merge both into this folder instead of A."
    ),
]
Checkpoints = Annotated[bool, typer.Option("--checkpoints", help="Copy checkpoints, cached latents and samples, too.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing; show what would be done.")]

DONE = {"copied": "copied", "completed": "got further values or files", "same": "there already"}
LEFT = {"conflict": "in conflict", "unreadable": "unreadable", "unfinished": "unfinished"}


def merge(
    a: First,
    b: Second,
    output: Output = None,
    checkpoints: Checkpoints = False,
    dry_run: DryRun = False,
    as_json: shared.Json = False,
) -> None:
    """Merge the finished runs of two results folders.

    A run in both is one if all values that both have are equal; values that only one has are added. Where a value
    differs, both are shown and nothing of the run is written. Nothing is ever overwritten; a merge that was stopped is
    resumed by the same command. Only runs, external rows and resolved suites are copied. The exit code is 1 if a run is
    in conflict or unreadable.
    """
    from vqbench.store import merging
    from vqbench.store.results import ResultStore

    for path in (a, b):
        if not path.exists():
            raise UsageError(f"{path}: does not exist; name an existing results folder")
    if a.resolve() == b.resolve():
        raise UsageError(f"{a} and {b} are the same folder; name two")
    for source in (a, b):
        if output is not None and source.resolve() in output.resolve().parents:
            raise UsageError(f"-o {output}: is inside {source}, which is only read; name a folder outside of it")
    sources = [ResultStore(a), ResultStore(b)]
    target = ResultStore(output or a)
    runs: dict[str, list[MergedRun]] = defaultdict(list)
    try:
        for run in merging.merge(sources, target, checkpoints, dry_run):
            runs[run.state].append(run)
    finally:  # also where the folder cannot be written: what was merged before stays
        if as_json:
            print_json(_data(target.root, dry_run, runs))
        else:
            print(_text(target.root, dry_run, runs))
    raise typer.Exit(int(bool(runs["conflict"] or runs["unreadable"])))


def _text(target: Path, dry_run: bool, runs: Mapping[str, Sequence[MergedRun]]) -> str:
    from vqbench.system.output import fold

    lines = [fold(f"{LEFT[state]}: {run.name}: {run.about}", "  ") for state in LEFT for run in runs.get(state, ())]
    counts = [(counted(len(runs.get(state, ())), "run"), words) for state, words in (DONE | LEFT).items()]
    parts = [f"{count} {words}" for count, words in counts if not count.startswith("0 ")] or ["nothing to merge"]
    start = f"{target}, if merged" if dry_run else str(target)
    return "\n".join([*lines, fold(f"{start}: {', '.join(parts)}.")])


def _data(target: Path, dry_run: bool, runs: Mapping[str, Sequence[MergedRun]]) -> dict[str, Any]:
    done = {state: [run.name for run in runs.get(state, ())] for state in DONE}
    left = {state: [{"name": run.name, "about": run.about} for run in runs.get(state, ())] for state in LEFT}
    return {"target": str(target), "dry_run": dry_run, **done, **left}
