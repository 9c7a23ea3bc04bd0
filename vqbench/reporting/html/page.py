"""Build the page of a suite, as one HTML file or as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vqbench.reporting.column_tests import judge_columns
from vqbench.reporting.html import codebooks, export, images
from vqbench.reporting.html.atlas import atlas, runs_of
from vqbench.reporting.html.page_data import page_data
from vqbench.reporting.html.suite_view import SuiteView, protocol_settings
from vqbench.reporting.html.table_tests import table_tests
from vqbench.reporting.html.templating import fill

LARGEST = 20_000_000  # bytes of a page
FIRST, EACH = 1_300_000, 185_000  # bytes of a page for all rows, and more for each: 3 MB with 8, 6 MB with 24
RUN = 8_000  # bytes of numbers that a further seed of a row takes
IMAGES, VALUES = 0.8, 0.12  # shares for images, and for values of test images
STATES = ("done", "partly", "failed", "missing")


def page(view: SuiteView) -> str:
    """Return the page of a suite as HTML."""
    whole = min(LARGEST, FIRST + EACH * _rows(view))
    views = atlas(view)
    room = max(0, int(IMAGES * whole) - _size(views) - RUN * max(0, len(view.runs) - _rows(view)))
    room //= max(1, sum(run.portrait is not None or run.samples is not None for run in view.runs))
    datasets = [
        {
            "name": name,
            "title": info.title,
            "codebooks": codebooks.codebook_views(view.of(name), room // 5),
            "samples": images.sample_sheets(view.of(name), room),
            "sets": images.sets(view.of(name), room * 4 // 5),
        }
        for name, info in view.plan.datasets.items()
    ]
    model = {
        "suite": view.plan.suite.name,
        "title": view.plan.suite.plain_title,
        "views": [_without_images(each) for each in views],
        "runs": runs_of(view, int(VALUES * whole)),
        "csv": export.csv_lines(view.tables),
    }
    return fill(
        "suite.html.j2",
        view=view,
        suite=view.plan.suite,
        title=view.plan.suite.plain_title,
        caption=view.tables[0].caption if view.tables else (),
        views=views,
        methods=list(
            dict.fromkeys(row["label"] for each in views for panel in each["panels"] for row in panel["rows"])
        ),
        model=model,
        tests=[table_tests(view, table) for table in view.tables],
        datasets=datasets,
        states={state: [run for run in view.runs if run.state == state] for state in STATES},
        settings=protocol_settings(view.plan),
        score=images.SCORE,
    )


def _size(views: Sequence[Mapping[str, Any]]) -> int:
    """Return the bytes of the thumbnails in the atlas."""
    rows = [row for each in views for panel in each["panels"] for row in panel["rows"]]
    return sum(row["images"].size for row in rows if row["images"])


def _without_images(view: dict[str, Any]) -> dict[str, Any]:
    """Return a view of the atlas without what the template alone draws."""
    drawn = ("usage", "images")
    panels = [
        {name: value for name, value in panel.items() if name != "originals"}
        | {"rows": [{name: value for name, value in row.items() if name not in drawn} for row in panel["rows"]]}
        for panel in view["panels"]
    ]
    return view | {"panels": panels}


def _rows(view: SuiteView) -> int:
    """Return the number of rows of the atlas."""
    return max((sum(len(block.rows) for block in table.blocks) for table in view.tables), default=len(view.runs))


def data(view: SuiteView) -> dict[str, Any]:
    """Return the numbers of the page as plain data."""
    return page_data(view, [judge_columns(table, view.images) for table in view.tables])
