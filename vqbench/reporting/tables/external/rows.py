"""Read the external rows of a suite's table from the stores.

They stand below the trained ones.

A row is shown where its data set and its measuring protocol are those of the table, so beside values of the same
images. It has no setting: a table that is grouped by an argument shows it in every group.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from vqbench.planning.plan import Plan, PlannedRun
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.tables.table import MARKS, Cell, Column, Row
from vqbench.store.external_record import ExternalRecord
from vqbench.store.external_rows import external_records, images_of
from vqbench.store.record import Value
from vqbench.store.results import ResultStore
from vqbench.system.console import one_line

NO_SETTING = "has no setting; the same values in every group"


class ExternalRows:
    """The external rows of one plan under one measuring protocol."""

    def __init__(self, stored: StoredRuns, protocol: str) -> None:
        self.plan, self.protocol = stored.plan, protocol
        self._found: dict[tuple[str, str], tuple[ExternalRecord, ResultStore]] = {}  # (data set, shown label)
        trained = {entry.label for entry in self.plan.entries}
        names = _names(self.plan)
        for store in stored.stores:
            for record in external_records(store):
                dataset = names.get(json.dumps(record.dataset, sort_keys=True))
                if record.suite == self.plan.suite.name_in_file and dataset is not None and protocol in record.values:
                    label = f"{record.label} (external)" if record.label in trained else record.label
                    self._found.setdefault((dataset, label), (record, store))  # the first store counts

    def __bool__(self) -> bool:
        return bool(self._found)

    def rows(self, groups: Sequence[Sequence[PlannedRun]], columns: Sequence[Column]) -> list[Row]:
        """Return the rows of one block.

        ``groups`` are the runs of the block in each group of columns, which say what data set is meant.
        """
        datasets = [{entry.dataset for entry in group} for group in groups]
        rows = []
        for label in dict.fromkeys(label for name, label in self._found if any(name in each for each in datasets)):
            cells = []
            for names in datasets:
                stored = next((self._found[name, label] for name in names if (name, label) in self._found), None)
                cells += [self._cell(stored, column) for column in columns]
            notes = [] if self.plan.suite.table.group == "dataset" else [NO_SETTING]
            rows.append(Row(label, cells, footnotes=notes, external=True))
        return rows

    def caption(self) -> list[str]:
        """Say in one line that these rows were not trained here.

        It also says when they were measured, and by whom.
        """
        if not self:
            return []
        about = []
        for (_, label), (record, _) in self._found.items():
            by = f" by {one_line(record.made['by'])}" if record.made.get("by") else ""
            rate = record.given.get("rate")
            bits = f", {rate['bits_per_image']:,.0f} bits per image" if rate else ""
            about.append(f"{one_line(label)} (measured {str(record.made.get('date', ''))[:10]}{by}{bits})")
        return [f"E: not trained by vqbench, so of unknown budget and never ranked: {', '.join(dict.fromkeys(about))}."]

    def images(self, dataset: str, label: str, metric: str) -> np.ndarray | None:
        """Return the values per image (N,) of a row, None where it has none."""
        record, store = self._found[dataset, label]
        value = self._measured(record, metric)
        array = images_of(store, record).get(f"{self.protocol}/{metric}")
        return array if value is not None and array is not None and len(array) == value.images else None

    def _cell(self, stored: tuple[ExternalRecord, ResultStore] | None, column: Column) -> Cell:
        if stored is None:
            return Cell(status="none")
        record, store = stored
        codes = record.given["codes"]
        if column.key == "codes" and codes is not None:
            return Cell(status="none", text=f"{codes['num_codes']}")
        value = self._measured(record, column.key)
        if value is None or value.value is None:
            return Cell(status="none")
        return Cell([value.value], images=value.images, sources=[store.name], marks=["E"], unranked=MARKS["E"], runs={})

    def _measured(self, record: ExternalRecord, metric: str) -> Value | None:
        """Return the value of ``metric``, if it is of the version that the table wants."""
        value = record.values[self.protocol].get(metric)
        wanted = self.plan.wanted()[self.protocol].get(metric)
        return value if value is not None and (value.metric_version, value.protocol_version) == wanted else None


def _names(plan: Plan) -> dict[str, str]:
    """Map the data sets of a plan, as records have them, to their names in the suite."""
    return {json.dumps(entry.run.dataset.to_dict(), sort_keys=True): entry.dataset for entry in plan.entries}
