"""The page of measured images: table, worst and best images, histograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vqbench import protocol
from vqbench.errors import counted
from vqbench.reporting.html.measured import svg
from vqbench.reporting.html.measured.image_pairs import PairGroup, pair_groups, ranking
from vqbench.reporting.html.templating import fill

if TYPE_CHECKING:
    from pandas import DataFrame

BINS = 30
INPUTS = ("originals", "reconstructions", "samples", "reference")
Levels = Mapping[str, tuple[np.ndarray, np.ndarray]]  # name of a pair -> original and reconstruction, (C, H, W) uint8


@dataclass(frozen=True)
class MeasuredTable:
    """The values of some images as cells of a table, and the sentences below it."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    remarks: Sequence[str]


def measured_page(
    label: str,
    table: MeasuredTable,
    values: DataFrame,
    per_image: DataFrame,
    about: Mapping[str, Any],
    read: Callable[[Sequence[str]], Levels],
) -> str:
    """Return one HTML page, which needs no network.

    Args:
        label: Name of what was measured; may be empty.
        table: The values as text.
        values: One row per protocol and metric, as :attr:`vqbench.api.evaluation.Evaluation.values`.
        per_image: One row per protocol and image, likewise.
        about: Facts about the inputs, likewise.
        read: Reads pairs by name.
    """
    metrics = [name for name in per_image.columns if name not in ("protocol", "image", "name")]
    ranked = ranking(values, per_image, metrics) if metrics and "name" in per_image else None
    groups: list[PairGroup] = []
    largest = 0
    if ranked is not None:
        pairs = read([name for names in ranked.groups.values() for name in names])
        groups, largest = pair_groups(ranked, pairs)
    protocols = {name: protocol.measuring(name) for name in dict.fromkeys(values.protocol)}
    return fill(
        "measured.html.j2",
        style="measured.css",
        script=None,
        label=label,
        count=counted(int(values.images.iloc[0]), "image"),
        table=table,
        ranked=ranked,
        groups=groups,
        largest=largest,
        histograms=[_histogram(name, values, per_image) for name in metrics],
        protocols=[(name, each.summary, each.knobs()) for name, each in protocols.items()],
        inputs={name: about[name] for name in INPUTS if name in about},
        codes=about.get("codes"),
        damaged=about.get("damaged", {}),
        versions=list(values[["protocol", "protocol_version", "label", "metric_version"]].itertuples(index=False)),
    )


def _histogram(metric: str, values: DataFrame, per_image: DataFrame) -> svg.Plot:
    """Draw how many images have which value, a line for each protocol."""
    about = values[values.metric == metric].iloc[0]
    title = f"{about.label} ({about.unit})" if about.unit else about.label
    names = list(dict.fromkeys(per_image.protocol))
    columns = {name: per_image[per_image.protocol == name][metric].to_numpy(float) for name in names}
    finite = {name: column[np.isfinite(column)] for name, column in columns.items()}
    together = np.concatenate(list(finite.values()))
    figure, axes = svg.panel(3.6, 2.2)
    if len(together):
        edges = np.histogram_bin_edges(together, BINS)
        for number, column in enumerate(finite.values()):
            axes.stairs(np.histogram(column, edges)[0], edges, color=svg.colour(number), linewidth=1.4)
    svg.label(axes, title, "images")
    notes = [_summary(name, columns[name], finite[name], int(about.digits)) for name in names]
    return svg.Plot(svg.inline(figure, f"{title}: images per value. {' '.join(notes)}"), title, " ".join(notes))


def _summary(name: str, column: np.ndarray, finite: np.ndarray, digits: int) -> str:
    """Describe one column in words."""
    infinite = len(column) - len(finite)
    beyond = f"; {counted(infinite, 'image')} without a finite value not drawn" if infinite else ""
    if not len(finite):
        return f"{name}: no finite value{beyond}."
    low, middle, high = (f"{each:.{digits}f}" for each in (finite.min(), np.median(finite), finite.max()))
    return f"{name}: {low} to {high}, median {middle}{beyond}."
