"""Build the page of a suite, as one HTML file or as plain data."""

from __future__ import annotations

from typing import Any

from vqbench.reporting.column_tests import judge_columns
from vqbench.reporting.html import codebooks, images, rate_distortion, training_curves
from vqbench.reporting.html.figures import legend
from vqbench.reporting.html.page_data import page_data
from vqbench.reporting.html.suite_view import SuiteView, protocol_settings
from vqbench.reporting.html.table_view import table_view
from vqbench.reporting.html.templating import fill

BUDGET = 17_000_000  # bytes of images that a page may hold, whatever the number of runs
STATES = ("done", "partly", "failed", "missing")


def page(view: SuiteView) -> str:
    """Return the page of a suite as HTML."""
    keys = legend(view)
    tables = [table_view(view, table) for table in view.tables]
    protocols = view.plan.protocols()
    room = BUDGET // max(1, len(view.runs))
    datasets = [
        {
            "name": name,
            "title": info.title,
            "codebook": training_curves.curves(view, name, keys, codebook=True),
            "curves": training_curves.curves(view, name, keys, codebook=False),
            "trade_offs": [(each, rate_distortion.trade_offs(view, name, each, keys)) for each in protocols],
            "codebooks": codebooks.codebook_views(view.of(name), room * 2 // 5),
            "sets": images.sets(view.of(name), room * 3 // 5),
            "entropy_unknown": [run.name for run in view.of(name) if run.record and run.entropy is None],
        }
        for name, info in view.plan.datasets.items()
    ]
    states = {state: [run for run in view.runs if run.state == state] for state in STATES}
    return fill(
        "suite.html.j2",
        view=view,
        suite=view.plan.suite,
        title=(view.tables[0].title if view.tables else view.plan.suite.name),
        caption=view.tables[0].caption if view.tables else (),
        keys=keys,
        tables=tables,
        datasets=datasets,
        states=states,
        settings=protocol_settings(view.plan),
        score=images.SCORE,
    )


def data(view: SuiteView) -> dict[str, Any]:
    """Return the numbers of the page as plain data."""
    return page_data(view, [judge_columns(table, view.images) for table in view.tables])
