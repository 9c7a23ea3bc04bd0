"""Plans, tables and records as pandas DataFrames, for analyses of your own.

pandas is imported inside the functions: commands that print tables do not need it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from vqbench import registry
from vqbench.errors import VqbenchError
from vqbench.planning.plan import Plan
from vqbench.reporting.run_matrix import RunMatrix
from vqbench.reporting.run_states import row_name
from vqbench.reporting.tables.table import Table
from vqbench.spec import RequiredMetrics, RunSpec
from vqbench.store.external_record import ExternalRecord
from vqbench.store.external_rows import external_records
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore
from vqbench.store.value_name import ValueName

if TYPE_CHECKING:
    from pandas import DataFrame

WHOLE = (
    "num_codes",
    "dim",
    "seed",
    "parameters",
    "devices",
    "updates",
)  # columns of whole numbers, some of which may be unknown


# The table of a suite -------------------------------------------------------------------------------------------------


def table_frame(table: Table) -> DataFrame:
    """Return a table with its rows as index and its columns by name.

    Values are means over seeds, not rounded, and NaN where one is missing. The index is (dataset, row), with a setting
    between them where the table has several. ``attrs`` has the title, the protocol and the notes of the printed table.
    """
    import pandas as pd

    rows: dict[tuple[str, str, str], dict[str, float | str]] = {}
    for place in table.places():
        cell, (dataset, setting) = place.cell, (place.dataset, place.setting)
        if table.group_by == "setting" and not table.groups:  # blocks of rows by an argument, not by data set
            dataset, setting = "", dataset
        value = math.nan if cell.mean is None else cell.mean
        rows.setdefault((dataset, setting, place.row.label), {})[place.column.key] = cell.text or value
    index = pd.MultiIndex.from_tuples(list(rows), names=["dataset", "setting", "row"])
    frame = pd.DataFrame(list(rows.values()), index=index, columns=[column.key for column in table.columns])
    for level in ("setting", "dataset"):
        if not any(frame.index.get_level_values(level)):
            frame = frame.droplevel(level)
    frame.attrs = {"title": table.title, "protocol": table.protocol, "notes": [*table.caption, *table.footnotes]}
    return frame


# The runs of a plan ---------------------------------------------------------------------------------------------------


def plan_frame(plan: Plan, matrix: RunMatrix) -> DataFrame:
    """Return one row per run of the table of ``plan``, in its order.

    A run that the table shows in several places has a row for each.
    """
    import pandas as pd

    places = [(entry, run) for entry in plan.entries for run in entry.stages()]
    rows = [
        {
            "key": cell.key,
            "label": cell.row,
            **_parts(run),
            "state": cell.state,
            "updates": cell.updates,
            "seconds": cell.seconds,
        }
        for (_, run), cell in zip(places, matrix.cells, strict=True)
    ]
    return _typed(pd.DataFrame(rows))


# The records of a store -----------------------------------------------------------------------------------------------

FACTS: Mapping[str, Callable[[Record], Any]] = {  # of a training, from its record
    "seconds": lambda record: record.made["seconds"],
    "parameters": lambda record: record.made.get("parameters"),
    "device": lambda record: record.made["device"],
    "devices": lambda record: record.made.get("devices", 1),
    "commit": lambda record: record.made["commit"],
    "torch": lambda record: record.made["versions"]["torch"],
    "date": lambda record: record.made["date"],
}
COLUMNS = (
    *("key", "label", "dataset", "quantizer", "arguments", "num_codes", "dim", "seed", "backbone", "recipe", "parent"),
    *("protocol", "images", "sampling", "metric", "value", "higher_is_better", "metric_version", "protocol_version"),
    *FACTS,
    *("external", "store"),
)


def results_frame(stores: Sequence[ResultStore], plan: Plan | None = None) -> DataFrame:
    """Return one row per run, protocol and metric of the records in ``stores``.

    The first store that has a run counts. With a ``plan``, only its runs and metrics are returned, with the labels of
    its rows: a run that has two labels has the rows of both. External rows, which were not trained here, come last.
    """
    import pandas as pd

    labels = None if plan is None else _labels(plan)
    rows = []
    found = _first_records(stores)
    for key in found if labels is None else [key for key in labels if key in found]:
        record, store = found[key]
        facts = {**_parts(record.run), **{name: fact(record) for name, fact in FACTS.items()}}
        facts |= {"external": False, "store": store}
        for label in ("",) if labels is None else labels[key]:
            for name, metric, value in _values(record, plan):
                better = _better(metric) if plan is None else plan.metrics[metric].better
                rows.append({"key": key, "label": label, **facts, **_measured(name, metric, value, better)})
    rows += _external(stores, plan)
    return _typed(pd.DataFrame(rows, columns=list(COLUMNS)))


def _external(stores: Sequence[ResultStore], plan: Plan | None) -> list[dict[str, Any]]:
    """Return the rows of external records.

    They have no facts of a training; device, commit, torch and date are those of the measurement.
    """
    datasets = None if plan is None else [entry.run.dataset.to_dict() for entry in plan.entries]
    found: dict[Any, tuple[ExternalRecord, str]] = {}
    for store in stores:
        for record in external_records(store):
            if plan is None or (record.suite == plan.suite.name_in_file and record.dataset in (datasets or ())):
                found.setdefault(record.place, (record, str(store.root)))
    rows = []
    for record, root in found.values():
        codes = record.given["codes"]
        parts = {"key": record.key, "label": record.label, "dataset": record.dataset["name"]}
        parts |= dict.fromkeys(("quantizer", "arguments", "backbone", "recipe", "parent"), "")
        parts |= {"num_codes": None if codes is None else codes["num_codes"], "external": True, "store": root}
        parts |= {"device": record.made.get("device"), "date": record.made.get("date")}
        parts |= {"commit": record.made.get("commit"), "torch": record.made.get("versions", {}).get("torch")}
        for name, metric, value in _chosen(record.values, None if plan is None else plan.wanted()):
            better = _better(metric) if plan is None else plan.metrics[metric].better
            rows.append({**parts, **_measured(name, metric, value, better)})
    return rows


def _first_records(stores: Iterable[ResultStore]) -> dict[str, tuple[Record, str]]:
    """The record of each run by key, with the folder of the first store that has it."""
    found: dict[str, tuple[Record, str]] = {}
    for store in stores:
        for record in store.records():
            found.setdefault(record.run.key, (record, str(store.root)))
    return found


def _labels(plan: Plan) -> dict[str, list[str]]:
    """The labels of each run of ``plan``, by key."""
    labels: dict[str, list[str]] = {}
    for entry in plan.entries:
        for run in entry.stages():
            names = labels.setdefault(run.key, [])
            if (name := row_name(entry, run)) not in names:
                names.append(name)
    return labels


def _values(record: Record, plan: Plan | None) -> Iterable[tuple[str, str, Value]]:
    """Yield the values of a record, or those that ``plan`` wants of it.

    Each as (name of the value, metric, value).
    """
    return _chosen(record.values, None if plan is None else plan.wanted(record.run))


def _chosen(
    values: Mapping[str, Mapping[str, Value]], wanted: RequiredMetrics | None
) -> Iterator[tuple[str, str, Value]]:
    """Yield the values that are ``wanted``, or all, as :func:`_values` does."""
    if wanted is None:
        yield from ((name, metric, value) for name, metrics in values.items() for metric, value in metrics.items())
        return
    for name, metrics in wanted.items():
        for metric, versions in metrics.items():
            value = values.get(name, {}).get(metric)
            if value is not None and (value.metric_version, value.protocol_version) == versions:
                yield name, metric, value


def _measured(name: str, metric: str, value: Value, better: str | None) -> dict[str, Any]:
    """The columns that differ between the values of one run."""
    under = ValueName.parse(name)
    return {
        "protocol": str(replace(under, sampling=None)),  # as tables and records name it, so that they can be joined
        "images": value.images,
        "sampling": under.sampling.name if under.sampling else "",
        "metric": metric,
        "value": math.nan if value.value is None else value.value,
        "higher_is_better": None if better is None else better == "max",
        "metric_version": value.metric_version,
        "protocol_version": value.protocol_version,
    }


def _better(metric: str) -> str | None:
    """Whether more or less of ``metric`` is better; None if it is not installed here."""
    try:
        return registry.load("metrics", metric).better
    except VqbenchError:
        return None


def _parts(run: RunSpec) -> dict[str, Any]:
    """The columns that name a run."""
    args = dict(run.quantizer.args)
    return {
        "dataset": run.dataset.name,
        "quantizer": run.quantizer.name,
        "num_codes": args.pop("num_codes", None),
        "dim": args.pop("dim", None),
        "arguments": json.dumps(args, sort_keys=True),  # text, so that runs can be grouped by it
        "seed": run.seed,
        "backbone": run.backbone.name,
        "recipe": run.recipe.name,
        "parent": run.parent or "",
    }


def _typed(frame: DataFrame) -> DataFrame:
    """Give each column one type.

    Unknown whole numbers and truth values are <NA>, other numbers NaN.
    """
    types = {name: "Int64" for name in WHOLE if name in frame} | {"value": "float64", "seconds": "float64"}
    types |= {"higher_is_better": "boolean"}
    typed: DataFrame = frame.astype({name: kind for name, kind in types.items() if name in frame})
    return typed
