"""What the plots of a page share: their words, and how each row is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vqbench.reporting.html import svg
from vqbench.reporting.html.suite_view import RunView, SuiteView

CROWD = 14  # rows whose points still have their names beside them, and not numbers


@dataclass(frozen=True)
class Plot:
    """A drawn figure and the words below it."""

    svg: str
    title: str
    note: str = ""


@dataclass(frozen=True)
class LegendEntry:
    """A row in a legend: its label and how it is drawn."""

    label: str
    colour: int  # of the page's series
    dashes: str
    number: int  # of all rows


def legend(suite: SuiteView) -> list[LegendEntry]:
    """The rows in the table's order; every figure draws a row alike."""
    labels = dict.fromkeys(entry.label for entry in suite.plan.entries)
    return [
        LegendEntry(label, i % svg.SERIES, svg.DASHES[i // svg.SERIES % len(svg.DASHES)], i)
        for i, label in enumerate(labels)
    ]


def series(view: RunView, keys: Sequence[LegendEntry]) -> int:
    return next(key.number for key in keys if key.label == view.entries[0].label)
