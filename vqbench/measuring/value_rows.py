"""Values as rows: each with metric, protocol, unit and a note for its reader."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqbench import registry
from vqbench.errors import counted
from vqbench.evaluation.reconstructions import Measurement

SOME = 5  # names in one note


def value_rows(measurement: Measurement, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Return one row per protocol and metric.

    ``value`` is NaN where the metric does not apply; ``note`` says why it is not ranked, or which of the images, if
    they have ``names``, make it infinite. It is empty for others.
    """
    rows = []
    for protocol, values in measurement.values.items():
        for name, value in values.items():
            metric = registry.load("metrics", name)
            note = ""
            if value.images < metric.few:
                note = f"{metric.label} is not ranked: it needs at least {metric.few:,} images, here {value.images:,}."
            elif value.value == float("inf"):
                note = f"{metric.label} is infinite: {_exact(measurement.images.get(f'{protocol}/{name}'), names)}."
            rows.append(
                {
                    "protocol": protocol,
                    "images": value.images,
                    "metric": name,
                    "label": metric.label,
                    "value": float("nan") if value.value is None else value.value,
                    "unit": metric.unit,
                    "higher_is_better": metric.better == "max",
                    "digits": metric.digits,
                    "metric_version": value.metric_version,
                    "protocol_version": value.protocol_version,
                    "note": note,
                }
            )
    return rows


def _exact(values: np.ndarray | None, names: Sequence[str] | None) -> str:
    """Say which images are reconstructed without any error."""
    if names is None or values is None:
        return "some images are reconstructed without any error"
    which = [names[place] for place in np.flatnonzero(np.isinf(values)).tolist()]
    more = f" and {len(which) - SOME:,} more" if len(which) > SOME else ""
    verb = "equals its original" if len(which) == 1 else "equal their originals"
    return f"{counted(len(which), 'image')} {verb} ({', '.join(which[:SOME])}{more})"
