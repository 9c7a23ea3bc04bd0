"""What the plots of a page share: their form, and the style of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vqbench.reporting.html import svg
from vqbench.reporting.html.suite_view import RunView, SuiteView

CROWD = 14  # with more rows, points have numbers beside them instead of names


@dataclass(frozen=True)
class Plot:
    """A figure as SVG, its title and the note below it."""

    svg: str
    title: str
    note: str = ""


@dataclass(frozen=True)
class LegendEntry:
    """A row in a legend: its label and style."""

    label: str
    colour: int  # of the series in the page's style
    dashes: str
    number: int  # position among all rows


def legend(suite: SuiteView) -> list[LegendEntry]:
    """Return the rows in the order of the table; all figures draw a row in one style."""
    labels = dict.fromkeys(entry.label for entry in suite.plan.entries)
    return [
        LegendEntry(label, i % svg.SERIES, svg.DASHES[i // svg.SERIES % len(svg.DASHES)], i)
        for i, label in enumerate(labels)
    ]


def series(view: RunView, keys: Sequence[LegendEntry]) -> int:
    return next(key.number for key in keys if key.label == view.entries[0].label)
