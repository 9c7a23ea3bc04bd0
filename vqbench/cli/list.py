"""``vqbench list``: plugins, suites or protocols, or the runs of a store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import add_plugins, require_folder
from vqbench.cli.output import print_json, require_sound

Kind = Annotated[
    str,
    typer.Argument(
        metavar="KIND",
        help="quantizers, datasets, metrics, backbones, recipes, suites, protocols or runs (of --store).",
    ),
]


def list_(
    kind: Kind, store: shared.StoreToRead = shared.RUNS, plugin: shared.Plugins = None, as_json: shared.Json = False
) -> None:
    """List quantizers, data sets, metrics, suites and the like.

    `vqbench info` shows all about one of them.
    """
    from vqbench.reporting import plugin_facts
    from vqbench.store.results import ResultStore, damage_of

    add_plugins(plugin)
    if plugin_facts.plural(kind) != "runs":
        rows = plugin_facts.listing(kind)
        print_json(rows) if as_json else print(listing_text(rows))
        return
    require_folder(store)
    results = ResultStore(store)
    rows = [*plugin_facts.runs(results), *plugin_facts.external_rows(results)]
    print_json(rows) if as_json else print(runs_text(rows, str(store)))
    require_sound(damage_of([results]))


def listing_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write each name with what it is; for quantizers, the paper and its year."""
    from vqbench.reporting.plugin_facts import title
    from vqbench.system.output import fold

    width = max((len(row["name"]) for row in rows), default=0)
    lines = []
    for row in rows:
        middle = f"  {row['year'] or '':>4}" if "year" in row else f"  {row['use']:<7}" if "use" in row else ""
        origin = row.get("origin", "built-in")
        elsewhere = "" if origin == "built-in" or origin.startswith("preset of") else f" ({origin})"
        start = f"{row['name']:<{width}}{middle}  "
        lines.append(fold(f"{start}{row['about']}{elsewhere}", " " * len(start)))
        if row.get("paper") and not origin.startswith("preset of"):
            lines.append(fold(f"{' ' * len(start)}{title(row['paper'])}", " " * len(start)))
    return "\n".join(lines)


def runs_text(rows: Sequence[Mapping[str, Any]], store: str) -> str:
    """Write the runs of a store, oldest first."""
    from vqbench.system.output import grid

    if not rows:
        return f"{store} has no finished run; `vqbench run SUITE` trains some"
    ordered = sorted(rows, key=lambda row: row["date"] or "")
    cells = [
        [
            row["name"],
            row["dataset"],
            row.get("quantizer", "external"),
            row.get("seed", ""),
            (row["date"] or "")[:10],
            row["about"],
        ]
        for row in ordered
    ]
    return grid(["key", "data set", "quantizer", "seed", "date", "suite: row"], cells)
