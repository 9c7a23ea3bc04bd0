"""Plot quantities of training by epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vqbench.reporting.html import svg
from vqbench.reporting.html.figures import CROWD, LegendEntry, Plot, series
from vqbench.reporting.html.suite_view import RunView, SuiteView

CURVES = (  # key in the history, title, whether on a logarithmic scale
    ("error", "Training error", True),
    ("selection_error", "Selection error", True),
    ("loss", "Loss, in the units of each method", True),
    ("usage", "Used codes in the epoch [%]", False),
    ("perplexity", "Perplexity in training", False),
    ("dead", "Unused codes in the epoch", False),
    ("revived", "Revived codes", False),
)
CODEBOOK = ("usage", "perplexity", "dead", "revived")


def curves(suite: SuiteView, dataset: str, keys: Sequence[LegendEntry], codebook: bool) -> list[Plot]:
    """Plot every quantity that some run of ``dataset`` logged per epoch.

    ``codebook``: those of the codes, else all others.
    """
    runs = [view for view in suite.of(dataset) if view.history]
    where = suite.plan.datasets[dataset].title
    plots = []
    for name, title, logarithmic in (*CURVES, *_others(runs)):
        if (name in CODEBOOK) == codebook:
            drawn = [(view, _series(view, name, logarithmic)) for view in runs]
            drawn = [(view, points) for view, points in drawn if points]
            if drawn:
                plots.append(_curve(drawn, keys, title, where, logarithmic))
    return plots


def _others(runs: Sequence[RunView]) -> list[tuple[str, str, bool]]:
    """Return what recipes log per epoch beside :data:`CURVES`, under their own names."""
    known = {"epoch", *(name for name, _, _ in CURVES)}
    items = [item for view in runs for epoch in view.history for item in epoch.items()]
    names = dict.fromkeys(name for name, value in items if _is_number(value) and name not in known)
    return [(name, name, False) for name in names]


def _series(view: RunView, name: str, logarithmic: bool) -> list[tuple[int, float]]:
    """Return (epoch, value) wherever a value exists that can be drawn."""
    numbered = enumerate(view.history, 1)
    points = [(epoch.get("epoch", place), epoch[name]) for place, epoch in numbered if _is_number(epoch.get(name))]
    return [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not logarithmic)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curve(
    drawn: Sequence[tuple[RunView, list[tuple[int, float]]]],
    keys: Sequence[LegendEntry],
    title: str,
    where: str,
    logarithmic: bool,
) -> Plot:
    figure, axes = svg.panel()
    ends = []
    for view, points in drawn:
        number = series(view, keys)
        x, y = zip(*points, strict=True)
        alone = "o" if len(points) == 1 else ""
        axes.plot(
            x, y, color=svg.colour(number), linestyle=svg.dashes(number), linewidth=1.6, marker=alone, markersize=3
        )
        ends.append(f"{view.name} {y[-1]:.3g}")
    if logarithmic:
        axes.set_yscale("log")
        _plain_logarithmic(axes)
    elif min(y for _, points in drawn for _, y in points) >= 0:
        axes.set_ylim(bottom=0)
    axes.xaxis.get_major_locator().set_params(integer=True)
    svg.label(axes, "epoch", "")
    shown = ", ".join(ends[:CROWD]) + (f" and {len(ends) - CROWD} more" if len(ends) > CROWD else "")
    return Plot(svg.inline(figure, f"{title} by epoch on {where}. At the end: {shown}."), title)


def _plain_logarithmic(axes: Any) -> None:
    """Label a logarithmic axis with few plain numbers instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    steps = (1.0,) if decades > 2 else (1.0, 2.0, 5.0) if decades > 0.6 else range(1, 10)
    axes.yaxis.set_major_locator(LogLocator(10, steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
