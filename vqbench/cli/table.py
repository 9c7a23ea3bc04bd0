"""``vqbench table``: the tables of a suite, from stored results."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import Selection, output_file, require_folder, suite_or_default
from vqbench.cli.output import print_hint, print_other_suites, require_sound
from vqbench.errors import UsageError, nearest
from vqbench.system.console import encodable

if TYPE_CHECKING:
    from vqbench.planning.plan import Plan
    from vqbench.reporting.tables.table import Table
    from vqbench.store.results import ResultStore

FORMATS = ("text", "markdown", "csv", "latex", "json")

Format = Annotated[str, typer.Option("--format", metavar="NAME", help="text, markdown, csv or latex.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE", parser=output_file, help="Write to a file.")
]
Paper = Annotated[bool, typer.Option("--paper", help="Show printed values beside ours, with verdicts.")]
Notes = Annotated[bool, typer.Option("--notes", help="Print all notes below the table, not only five lines.")]

BDRates = Annotated[
    str | None,
    typer.Option("--bd-rate", metavar="RATE", help="Show BD-rates in a rate metric, such as entropy, instead."),
]
Differences = Annotated[
    str | None,
    typer.Option("--differences", metavar="METRIC", help="Show how far rows differ in METRIC, with p-values, instead."),
]
RankCorrelation = Annotated[
    str | None,
    typer.Option(
        "--rank-correlation", metavar="METRIC", help="Show which columns order the rows as METRIC does instead."
    ),
]
Reference = Annotated[
    str | None,
    typer.Option(
        "--reference",
        metavar="ROW",
        help="Compare with this row (--bd-rate; default: the first; --differences; default: all pairs).",
    ),
]


def table(
    suite: shared.Suite = None,
    store: shared.StoreToRead = shared.RUNS,
    results: shared.Results = shared.RESULTS,
    style: Format = "text",
    output: Output = None,
    paper: Paper = False,
    notes: Notes = False,
    bd_rate: BDRates = None,
    differences: Differences = None,
    reference: Reference = None,
    correlated: RankCorrelation = None,
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
    """Print the tables of a suite from stored results.

    Nothing is trained or evaluated. `--bd-rate` shows instead by how many percent the bits of each row differ from a
    reference row's at equal quality; it needs a suite with several codebook sizes, such as rates_quick. `--differences`
    shows instead how far rows differ in METRIC, paired by image and seed, all pairs or those with `--reference ROW`.
    `--rank-correlation` shows instead how far every other column orders the methods as METRIC does (Kendall's τ). Image
    folders are compared by their times only: the next `vqbench run` finds an image that was rewritten in place.
    """
    from vqbench.store.results import ResultStore, damage_of
    from vqbench.system.output import write_text

    derived = {"--bd-rate": bd_rate, "--differences": differences, "--rank-correlation": correlated}
    _require_one_table(paper, reference, derived)
    if as_json and style not in ("text", "json"):
        raise UsageError(f"--format {style} and --json: the table is written in one format; give one of them")
    require_folder(store)
    selection = Selection(only, skip, seeds, metrics, sets, plugin, epochs, batch_size, subset, test_images)
    name = suite_or_default(suite, "showing")
    plan = selection.plan(name, store, results)
    stores = [ResultStore(folder) for folder in (store, results)]
    written = "json" if as_json else style
    if any(metric is not None for metric in derived.values()):
        text = _derived_text(plan, stores, written, derived, reference, notes)
    else:
        text = table_text(plan, stores, written, paper, notes)
    if output is None:
        require_encodable(text, style)
        print(text, end="")
    else:
        write_text(output, text)
    print_hint("table", name, plan, stores)
    if suite is None:
        print_other_suites("table", plan, stores[0], [] if store == shared.RUNS else ["--store", str(store)])
    require_sound(damage_of(stores))


def _require_one_table(paper: bool, reference: str | None, metrics: Mapping[str, str | None]) -> None:
    """Raise UsageError for options of different tables.

    ``metrics`` are those of the options that show another table than the suite's.
    """
    chosen = [option for option, metric in metrics.items() if metric is not None]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} are {len(chosen)} tables; give one of them")
    if reference is not None and chosen not in (["--bd-rate"], ["--differences"]):
        raise UsageError("--reference belongs to --bd-rate or --differences; give it with one of them, or leave it out")
    if paper and chosen:
        raise UsageError(f"--paper and {chosen[0]} exclude each other; the paper prints no such table")


def table_text(
    plan: Plan, stores: Sequence[ResultStore], style: str, paper: bool = False, all_notes: bool = False
) -> str:
    """Write the tables of ``plan``, one per measuring protocol.

    Raises UsageError unless ``style`` is one of :data:`FORMATS`.
    """
    from vqbench.reporting.tables import assemble

    _require_format(style)
    return _rendered(assemble.tables(plan, stores, paper), style, paper, all_notes)


def _derived_text(
    plan: Plan,
    stores: Sequence[ResultStore],
    style: str,
    metrics: Mapping[str, str | None],
    reference: str | None,
    all_notes: bool,
) -> str:
    """Write the tables of the one option that has a metric, one per protocol.

    Raises UsageError unless ``style`` is one of :data:`FORMATS`, and for a suite that has no such column or row.
    """
    from vqbench.reporting.derived.bd_tables import bd_tables
    from vqbench.reporting.derived.correlation_tables import correlation_tables
    from vqbench.reporting.derived.difference_tables import difference_tables

    _require_format(style)
    if (rate := metrics["--bd-rate"]) is not None:
        found = bd_tables(plan, stores, rate, reference)
    elif (metric := metrics["--differences"]) is not None:
        found = difference_tables(plan, stores, metric, reference)
    else:
        found = correlation_tables(plan, stores, metrics["--rank-correlation"] or "")
    return _rendered(found, style, False, all_notes)


def _require_format(style: str) -> None:
    if style not in FORMATS:
        raise UsageError(f"unknown format {style!r}; {nearest(style, FORMATS)}")


def _rendered(tables: Sequence[Table], style: str, paper: bool, all_notes: bool) -> str:
    from vqbench.reporting.tables import render
    from vqbench.reporting.tables.formats.plain import plain
    from vqbench.system import jsontext
    from vqbench.system.output import width

    if style == "json":
        return jsontext.dumps([plain(each) for each in tables]) + "\n"
    return render.render(tables, style, paper, all_notes, width())


def require_encodable(text: str, style: str) -> None:
    """Raise UsageError for LaTeX that standard output cannot encode.

    Codes in place of letters would be commands of LaTeX.
    """
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if style == "latex" and encodable(text, encoding) != text:
        raise UsageError(f"standard output is {encoding}, without some letters of this LaTeX; -o FILE writes UTF-8")
