"""Plot distortion against rate and against time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from vqbench.reporting import statistics
from vqbench.reporting.html import svg
from vqbench.reporting.html.figures import CROWD, LegendEntry, Plot, series
from vqbench.reporting.html.suite_view import RunView, SuiteView
from vqbench.reporting.tables.budget import BITS
from vqbench.system.console import one_line


def trade_offs(suite: SuiteView, dataset: str, protocol: str, keys: Sequence[LegendEntry]) -> list[Plot]:
    """Plot every distortion against the entropy of the codes and against time.

    A distortion is a metric of reconstructions of which less is better.
    """
    rates: list[tuple[str, str, Callable[[RunView], float | None]]] = [
        ("entropy of the codes [bits per image]", "bits", lambda view: view.entropy),
        ("training [ms per update]", "time", lambda view: view.milliseconds),
    ]
    plots = []
    for metric, info in suite.plan.metrics.items():
        if info.better != "min" or info.of_samples or metric == BITS:
            continue
        label = info.label
        for axis, short, rate in rates:
            points = []
            for view in suite.of(dataset):
                x, y = rate(view), view.value(protocol, metric)
                if x is not None and y is not None and math.isfinite(x) and math.isfinite(y):
                    points.append((view, x, y))
            if len(points) > 1:
                plots.append(_trade_off(points, keys, axis, f"{label} against {short}", label, suite, dataset))
    return plots


def _trade_off(
    points: Sequence[tuple[RunView, float, float]],
    keys: Sequence[LegendEntry],
    axis: str,
    title: str,
    metric: str,
    suite: SuiteView,
    dataset: str,
) -> Plot:
    figure, axes = svg.panel(4.4, 3.1)
    methods = [i for i, (view, _, _) in enumerate(points) if not view.entries[0].upper_bound]
    front = [methods[i] for i in statistics.pareto([points[i][1:] for i in methods])]
    if front:
        x, y = zip(*(points[i][1:] for i in front), strict=True)
        axes.step(x, y, where="post", color=svg.INK, linewidth=1, linestyle=":")
    axes.margins(0.14, 0.12)
    for view, x, y in points:
        number = series(view, keys)
        hollow = view.entries[0].upper_bound
        axes.plot(
            x,
            y,
            svg.MARKERS[(number + number // svg.SERIES) % len(svg.MARKERS)],
            color=svg.colour(number),
            markersize=7,
            fillstyle="none" if hollow else "full",
            linestyle="none",
        )
    svg.label(axes, axis, metric)
    crowded = len(keys) > CROWD  # numbers instead of names, which the legend explains
    _names(axes, [(str(series(view, keys) + 1) if crowded else view.label, x, y) for view, x, y in points])
    where = suite.plan.datasets[dataset].title
    best = ", ".join(f"{points[i][0].name} ({points[i][1]:.4g}, {points[i][2]:.4g})" for i in front)
    return Plot(
        svg.inline(figure, f"{title} on {where}. On the Pareto front: {best}."),
        title,
        f"Pareto front: {', '.join(dict.fromkeys(points[i][0].label for i in front))}." if front else "",
    )


PLACES = ((7, 5, "left"), (-7, 5, "right"), (0, 10, "center"), (0, -10, "center"), (7, -6, "left"), (-7, -6, "right"))


def _names(axes: Any, points: Sequence[tuple[str, float, float]]) -> None:
    """Place names beside points where they cover nothing, else further up."""
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # fixes the limits now, not at drawing
    at = [tuple(axes.transData.transform((x, y))) for _, x, y in points]  # in pixels
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in at]
    for (name, *place), (x, y) in zip(points, at, strict=True):
        name = one_line(name)
        shown = name if len(name) <= 24 else name[:23] + "…"
        width = 6.0 * len(shown)
        for dx, dy, side in (*PLACES, *((7, 10 * k, "left") for k in range(2, 8))):
            left = x + dx - {"left": 0, "right": width, "center": width / 2}[side]
            box = (left, y + dy - 5, left + width, y + dy + 5)
            inside = box[2] <= axes.bbox.x1 + 8 and box[0] >= axes.bbox.x0
            if inside and not any(_overlap(box, other) for other in taken):
                break
        taken.append(box)
        axes.annotate(
            shown,
            place,
            (dx * 0.72, dy * 0.72),  # points, of which there are 72 to 100 pixels
            textcoords="offset points",
            fontsize=7.5,
            color=svg.INK,
            va="center",
            ha=side,
            annotation_clip=False,
            parse_math=False,  # dollar signs in a label are no formula
        )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
