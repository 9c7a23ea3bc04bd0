"""``vqbench diff``: what changed between two states of the results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import given_path
from vqbench.cli.output import print_json, require_sound

Before = Annotated[str, typer.Argument(metavar="A", help="A results folder, a commit of this repository, or a date.")]
After = Annotated[str, typer.Argument(metavar="B", help="Likewise; changes are shown from A to B.")]
Results = Annotated[
    Path,
    typer.Option("--results", metavar="FOLDER", parser=given_path, help="The folder that a commit or date refers to."),
]


def diff(a: Before, b: After, results: Results = shared.RESULTS, as_json: shared.Json = False) -> None:
    """Show what changed between two states of the results."""
    from vqbench.reporting import results_diff

    difference = results_diff.diff(a, b, results)
    if as_json:
        print_json(results_diff.data(difference))
    else:
        print(results_diff.text(difference))
    require_sound(difference.damage)
