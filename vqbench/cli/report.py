"""``vqbench report``: an HTML page of a suite, from stored results."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, output_path, require_folder, suite_or_default
from vqbench.cli.output import print_hint, require_sound
from vqbench.errors import UsageError, nearest

if TYPE_CHECKING:
    from vqbench.reporting.html.suite_view import SuiteView

FORMATS = ("html", "json")

Output = Annotated[
    Path | None,
    typer.Option(
        *("-o", "--output"),
        metavar="FILE",
        parser=output_path,
        show_default="report.html; stdout for json",
        help="File to write.",
    ),
]
Format = Annotated[str, typer.Option("--format", metavar="NAME", help="html or json.")]
Index = Annotated[
    bool, typer.Option("--index", help="Write a page per stored suite and a start page, into the folder -o (report).")
]


def report(
    suite: shared.Suite = None,
    store: shared.StoreToRead = shared.RUNS,
    results: shared.Results = shared.RESULTS,
    output: Output = None,
    style: Format = "html",
    index: Index = False,
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
) -> None:
    """Write one HTML page: table, statistics, images and plots.

    The page holds all it needs: it opens from disk, without a network.
    """
    from vqbench.store.results import ResultStore, damage_of

    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}; {nearest(style, FORMATS)}")
    if output is not None and output.is_dir() != index and output.exists():
        raise UsageError(f"{output}: a {'file; --index writes to a folder' if index else 'folder; name a file in it'}")
    require_folder(store)
    stores = [ResultStore(store), ResultStore(results)]
    if index:
        from vqbench.reporting.html import start_page

        print(start_page.write(stores, output or Path("report")), file=sys.stderr)
    else:
        from vqbench.reporting.html.suite_view import suite_view

        name = suite_or_default(suite, "showing")
        selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
        command = shlex.join(["vqbench", "run", name, *selection.options()])
        plan = selection.plan(name, store, results)
        _write(suite_view(plan, stores, paper=True, command=command), style, output)
        print_hint("report", name, plan, stores)
    require_sound(damage_of(stores))


def _write(view: SuiteView, style: str, output: Path | None) -> None:
    """Write the page or its data to ``output``, data without one to stdout."""
    from vqbench.reporting.html import page
    from vqbench.system import jsontext
    from vqbench.system.output import write_text

    text = page.page(view) if style == "html" else jsontext.dumps(page.data(view)) + "\n"
    if style == "json" and output is None:
        print(text, end="")
        return
    path = output or Path("report.html")
    write_text(path, text)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB", file=sys.stderr)
