"""The plots of a page: how training went, and rate against distortion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vqbench.reporting import statistics
from vqbench.reporting.html import svg
from vqbench.reporting.html.gather import Gathered, RunView
from vqbench.system.console import one_line

CROWD = 14  # rows whose points still have their names beside them, and not numbers


@dataclass(frozen=True)
class Plot:
    """A drawn figure and the words below it."""

    svg: str
    title: str
    note: str = ""


@dataclass(frozen=True)
class Key:
    """A row in a legend: its label and how it is drawn."""

    label: str
    colour: int  # of the page's series
    dashes: str
    number: int  # of all rows


def legend(gathered: Gathered) -> list[Key]:
    """The rows in the table's order; every figure draws a row alike."""
    labels = dict.fromkeys(entry.label for entry in gathered.plan.entries)
    return [
        Key(label, i % svg.SERIES, svg.DASHES[i // svg.SERIES % len(svg.DASHES)], i) for i, label in enumerate(labels)
    ]


# How training went ----------------------------------------------------------------------------------------------------

CURVES = (  # key in the history, title, whether on a logarithmic scale
    ("error", "Training error", True),
    ("selection_error", "Selection error", True),
    ("loss", "Loss, in each method's own units", True),
    ("usage", "Codes used in the epoch [%]", False),
    ("perplexity", "Perplexity in training", False),
    ("dead", "Codes not used in the epoch", False),
    ("revived", "Codes used again", False),
)
CODEBOOK = ("usage", "perplexity", "dead", "revived")


def curves(gathered: Gathered, dataset: str, keys: Sequence[Key], codebook: bool) -> list[Plot]:
    """Every quantity that some run of ``dataset`` kept by epoch: those of its codes, or the others."""
    runs = [view for view in gathered.of(dataset) if view.history]
    where = gathered.plan.datasets[dataset].title
    plots = []
    for name, title, logarithmic in (*CURVES, *_others(runs)):
        if (name in CODEBOOK) == codebook:
            drawn = [(view, _series(view, name, logarithmic)) for view in runs]
            drawn = [(view, points) for view, points in drawn if points]
            if drawn:
                plots.append(_curve(drawn, keys, title, where, logarithmic))
    return plots


def _others(runs: Sequence[RunView]) -> list[tuple[str, str, bool]]:
    """What else some recipe tells of its epochs, under the name that it gives."""
    known = {"epoch", *(name for name, _, _ in CURVES)}
    told = [item for view in runs for epoch in view.history for item in epoch.items()]
    names = dict.fromkeys(name for name, value in told if _is_number(value) and name not in known)
    return [(name, name, False) for name in names]


def _series(view: RunView, name: str, logarithmic: bool) -> list[tuple[int, float]]:
    """(epoch, value), where there is a value that can be shown."""
    numbered = enumerate(view.history, 1)
    points = [(epoch.get("epoch", place), epoch[name]) for place, epoch in numbered if _is_number(epoch.get(name))]
    return [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or not logarithmic)]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _curve(
    drawn: Sequence[tuple[RunView, list[tuple[int, float]]]],
    keys: Sequence[Key],
    title: str,
    where: str,
    logarithmic: bool,
) -> Plot:
    figure, axes = svg.panel()
    ends = []
    for view, points in drawn:
        number = _number(view, keys)
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
    """Numbers, not powers of ten in formulas, and few enough to be read."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axes.get_ylim()
    decades = math.log10(high / low)
    steps = (1.0,) if decades > 2 else (1.0, 2.0, 5.0) if decades > 0.6 else range(1, 10)
    axes.yaxis.set_major_locator(LogLocator(10, steps))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _number(view: RunView, keys: Sequence[Key]) -> int:
    return next(key.number for key in keys if key.label == view.entries[0].label)


# Rate against distortion ----------------------------------------------------------------------------------------------


def trade_offs(gathered: Gathered, dataset: str, protocol: str, keys: Sequence[Key]) -> list[Plot]:
    """LPIPS and rFID (where measured) against the entropy of the codes and against time, with the Pareto front."""
    rates: list[tuple[str, str, Callable[[RunView], float | None]]] = [
        ("entropy of the codes [bits an image]", "bits", lambda view: view.entropy),
        ("training [ms an update]", "time", lambda view: view.milliseconds),
    ]
    plots = []
    for metric in ("lpips", "rfid"):
        if metric not in gathered.plan.metrics:
            continue
        label = gathered.plan.metrics[metric].label
        for axis, short, rate in rates:
            points = []
            for view in gathered.of(dataset):
                x, y = rate(view), view.value(protocol, metric)
                if x is not None and y is not None and math.isfinite(x) and math.isfinite(y):
                    points.append((view, x, y))
            if len(points) > 1:
                plots.append(_trade_off(points, keys, axis, f"{label} against {short}", label, gathered, dataset))
    return plots


def _trade_off(
    points: Sequence[tuple[RunView, float, float]],
    keys: Sequence[Key],
    axis: str,
    title: str,
    metric: str,
    gathered: Gathered,
    dataset: str,
) -> Plot:
    figure, axes = svg.panel(4.4, 3.1)
    able = [i for i, (view, _, _) in enumerate(points) if not view.entries[0].upper_bound]
    front = [able[i] for i in statistics.pareto([points[i][1:] for i in able])]
    if front:
        x, y = zip(*(points[i][1:] for i in front), strict=True)
        axes.step(x, y, where="post", color=svg.INK, linewidth=1, linestyle=":")
    axes.margins(0.14, 0.12)
    for view, x, y in points:
        number = _number(view, keys)
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
    crowded = len(keys) > CROWD  # then names are numbers, which the legend explains
    _names(axes, [(str(_number(view, keys) + 1) if crowded else view.label, x, y) for view, x, y in points])
    where = gathered.plan.datasets[dataset].title
    best = ", ".join(f"{points[i][0].name} ({points[i][1]:.4g}, {points[i][2]:.4g})" for i in front)
    return Plot(
        svg.inline(figure, f"{title} on {where}. On the Pareto front: {best}."),
        title,
        f"Pareto front: {', '.join(dict.fromkeys(points[i][0].label for i in front))}." if front else "",
    )


PLACES = ((7, 5, "left"), (-7, 5, "right"), (0, 10, "center"), (0, -10, "center"), (7, -6, "left"), (-7, -6, "right"))


def _names(axes: Any, points: Sequence[tuple[str, float, float]]) -> None:
    """Names beside points, where they lie on nothing else; further up, where there is no such place at once."""
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())  # settled now, not when it is drawn
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
            parse_math=False,  # a label with dollar signs is no formula
        )


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
