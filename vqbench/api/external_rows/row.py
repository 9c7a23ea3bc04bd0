"""The name of an external row, the suite that shows it, and its rate."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqbench import registry
from vqbench.errors import UsageError

if TYPE_CHECKING:
    from vqbench.planning.plan import Plan

LONGEST = 60  # letters of a label
EQUAL = 0.05  # share by which bits may differ between rows that count as of one rate


@dataclass(frozen=True)
class ExternalRow:
    """A row to store: its name, the suite whose table shows it, and who measured."""

    label: str
    plan: Plan
    measured_by: str = ""

    def __post_init__(self) -> None:
        """Raise UsageError for a label that the table cannot show, or has already."""
        if not self.label.strip() or len(self.label) > LONGEST or not self.label.isprintable():
            raise UsageError(f"--row {self.label!r:.80}: give a label of 1 to {LONGEST} letters on one line")
        if self.label in {entry.label for entry in self.plan.entries}:
            raise UsageError(
                f"--row {self.label!r}: {self.plan.suite.name} trains a row of this label; give another one"
            )

    @property
    def suite(self) -> str:
        """The name of the suite that records of the row have."""
        return self.plan.suite.name_in_file

    def dataset(self, name: str) -> dict[str, Any]:
        """Return the data set that the suite calls ``name``, as records have it."""
        return next(entry.run.dataset for entry in self.plan.entries if entry.dataset == name).to_dict()

    def place(self, dataset: str, images: int) -> tuple[str, str, str, int]:
        """Return the place of the row; see :class:`ExternalRecord`."""
        from vqbench.store.external_record import place_of

        return place_of(self.suite, self.label, self.dataset(dataset), images)

    def protocols(self) -> list[str]:
        """Return the protocols that the suite measures by."""
        return list(self.plan.suite.measure)

    def metrics(self, with_codes: bool) -> list[str]:
        """Return the metrics of the suite that pairs of images have."""
        classes = {name: registry.load("metrics", name) for name in self.plan.metrics}
        return [
            name
            for name, metric in classes.items()
            if not (metric.of_samples or metric.needs_model) and (with_codes or not metric.needs_codes)
        ]

    def datasets(self) -> dict[str, Any]:
        """Return the data sets of the suite by name."""
        parts = {entry.dataset: entry.run.dataset for entry in self.plan.entries}
        return {name: registry.create("datasets", part.name, **part.args) for name, part in parts.items()}


def bits_of_rows(plan: Plan, dataset: str) -> list[int]:
    """Return the bits per image of a suite's rows on a data set.

    In ascending order; whole bits, rounded down; of rows within 5 % of each other, the most.

    Raises UsageError where no row is quantized to finitely many bits.
    """
    from vqbench.training.model_building import planned_bits

    runs = [entry.run for entry in plan.entries if entry.dataset == dataset]
    images = registry.create("datasets", dataset, **runs[0].dataset.args)
    models = {json.dumps([run.quantizer.to_dict(), run.backbone.to_dict()]): run for run in runs}  # each once
    every = {planned_bits(run, images) for run in models.values()}
    kept: list[int] = []
    for bits in sorted((each for each in every if each is not None and isfinite(each)), reverse=True):
        if not kept or bits < (1 - EQUAL) * kept[-1]:
            kept.append(int(bits))
    if not kept:
        raise UsageError(f"{plan.suite.name}: no row on {dataset} is quantized, so none has bits; give --bits")
    return kept[::-1]


def row_of(suite: Any, label: str | None, measured_by: str, runs: Path) -> ExternalRow | None:
    """Return the row to store, None without a label.

    ``suite`` is what :func:`vqbench.load_suite` takes or returns; its plan is read from ``runs`` if it is current.

    Raises UsageError for arguments that do not fit.
    """
    from vqbench.api.suites import as_suite
    from vqbench.store.results import ResultStore

    if (suite is None) != (label is None):
        raise UsageError("suite and row belong together: the suite's table shows the row; give both")
    if suite is None or label is None:
        if measured_by:
            raise UsageError("measured_by is kept in the record of a row; give suite and row, too")
        return None
    return ExternalRow(label, as_suite(suite).resolve([ResultStore(runs)]), measured_by)
