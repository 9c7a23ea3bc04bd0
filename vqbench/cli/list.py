"""``vqbench list``: the plugins, suites or protocols of one kind."""

from __future__ import annotations

from typing import Annotated

import typer

from vqbench.cli import options as shared
from vqbench.cli.options import add_plugins
from vqbench.cli.output import print_json

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="quantizers, datasets, metrics, backbones, recipes, suites or protocols.")
]


def list_(kind: Kind, plugin: shared.Plugins = None, as_json: shared.Json = False) -> None:
    """List quantizers, data sets, metrics, suites and the like."""
    from vqbench.reporting.plugin_facts import listing
    from vqbench.system.output import grid

    add_plugins(plugin)
    rows = listing(kind)
    if as_json:
        print_json(rows)
    else:
        print(grid(list(rows[0]) if rows else [], [list(row.values()) for row in rows]))
