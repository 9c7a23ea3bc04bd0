"""``vqbench diff``: what changed between two states of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import given_path
from vqbench.cli.output import print_json, require_sound
from vqbench.errors import UsageError

Before = Annotated[
    str | None,
    typer.Argument(metavar="A", show_default=False, help="A results folder, a commit of this repository, or a date."),
]
After = Annotated[
    str | None, typer.Argument(metavar="B", show_default=False, help="Likewise; changes are shown from A to B.")
]
Show = Annotated[
    Path | None,
    typer.Option(
        "--show",
        metavar="FILE",
        parser=given_path,
        show_default=False,
        help="Print how far machines differ, from a file that --json wrote.",
    ),
]
Results = Annotated[
    Path,
    typer.Option("--results", metavar="FOLDER", parser=given_path, help="The folder that a commit or date refers to."),
]


def diff(
    a: Before = None,
    b: After = None,
    results: Results = shared.RESULTS,
    show: Show = None,
    as_json: shared.Json = False,
) -> None:
    """Show what changed between two states of the results.

    Equal runs of two machines are no change: how far they differ is shown by metric. `--show` prints that table in
    Markdown from what `--json` printed before.
    """
    from vqbench.reporting.changes import comparison, printing

    if show is not None:
        if a is not None or as_json:
            raise UsageError("--show prints a file alone; leave A, B and --json out")
        return print(_shown(show))
    if a is None or b is None:
        raise UsageError("give two states to compare, such as `vqbench diff results ../theirs/results`")
    difference = comparison.diff(a, b, results)
    if as_json:
        print_json(printing.data(difference))
    else:
        print(printing.text(difference))
    return require_sound(difference.damage)


def _shown(path: Path) -> str:
    """The table of machines in a file that --json wrote.

    Raises UsageError for other content.
    """
    from vqbench.reporting.changes.machines import MachineSpread, spread_table
    from vqbench.system import stored_files

    try:
        return spread_table([MachineSpread(**each) for each in stored_files.json_of(path)["machines"]], markdown=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path}: not what `vqbench diff --json` prints; give such a file") from error
