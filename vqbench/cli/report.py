"""The options of ``vqbench report`` and ``vqbench diff``; what they do is imported when they are called."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from vqbench.cli.options import Chosen, choosing
from vqbench.errors import UsageError, nearest
from vqbench.system.paths import path_of

FORMATS = ("html", "json")
FOLDER = "FOLDER"


@choosing
def report(
    chosen: Chosen,
    store: Annotated[Path, typer.Option("--store", metavar=FOLDER, parser=path_of, help="Where runs are read.")] = Path(
        "runs"
    ),
    results: Annotated[
        Path, typer.Option("--results", metavar=FOLDER, parser=path_of, help="Published records, read after the store.")
    ] = Path("results"),
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", parser=path_of, help="Otherwise report.html, or stdout for json."
        ),
    ] = None,
    style: Annotated[str, typer.Option("--format", help="html or json.")] = "html",
    index: Annotated[
        bool, typer.Option("--index", help="A start page over all resolved suites; with -o, a folder for all pages.")
    ] = False,
) -> None:
    """One page with a suite's table, statistics, images and plots, from what is stored; it needs no network."""
    from vqbench.reporting.html import page
    from vqbench.reporting.html.suite_view import suite_view
    from vqbench.store.results import ResultStore, damage_of
    from vqbench.system import jsontext
    from vqbench.system.output import require_sound, write_text

    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}; {nearest(style, FORMATS)}")
    stores = [ResultStore(store), ResultStore(results)]
    if index:
        from vqbench.reporting.html import start_page

        print(start_page.write(stores, output or Path("report")), file=sys.stderr)
        require_sound(damage_of(stores))
        return
    view = suite_view(chosen.plan(store, results), stores, paper=True, command=_command(chosen))
    if style == "json":
        text = jsontext.dumps(page.data(view)) + "\n"
        if output is None:
            print(text, end="")
            require_sound(damage_of(stores))
            return
    else:
        text = page.page(view)
    path = output or Path("report.html")
    write_text(path, text)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
    require_sound(damage_of(stores))


def diff(
    a: Annotated[str, typer.Argument(metavar="A", help="A results folder, a commit of this repository, or a date.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Likewise; what changed from A to B.")],
    results: Annotated[
        Path,
        typer.Option(
            "--results", metavar=FOLDER, parser=path_of, help="The folder whose past a commit or a date names."
        ),
    ] = Path("results"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """What changed between two states of the results beyond noise, and what is new or gone."""
    from vqbench.reporting import results_diff
    from vqbench.system import jsontext
    from vqbench.system.output import require_sound

    shown = results_diff.diff(a, b, results)
    print(jsontext.dumps(shown.data) if as_json else shown.text)
    require_sound(shown.damage)


def _command(chosen: Chosen) -> str:
    """The command that runs what the page shows."""
    words = ["vqbench", "run", chosen.suite]
    options = {"--set": chosen.sets, "--metrics": chosen.metrics, "--only": chosen.only, "--skip": chosen.skip}
    for option, values in (options | {"--plugin": chosen.plugin}).items():
        words += [word for value in values or () for word in (option, str(value))]
    numbers = {"--epochs": chosen.epochs, "--batch-size": chosen.batch_size, "--subset": chosen.subset}
    for option, value in ({"--seeds": chosen.seeds} | numbers | {"--test-images": chosen.test_images}).items():
        words += [] if value is None else [option, str(value)]
    return shlex.join(words)
