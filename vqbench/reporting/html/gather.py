"""What the stores hold of a suite's runs, read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vqbench import protocol
from vqbench.errors import StoreError
from vqbench.planning.plan import Plan, PlannedRun
from vqbench.reporting import statistics
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.budget import Budget, budget_of
from vqbench.reporting.tables.table import Table
from vqbench.spec import RunSpec
from vqbench.store import snapshots
from vqbench.store.record import Failure, Record
from vqbench.store.results import ResultStore
from vqbench.store.value_name import ValueName

State = Literal["done", "partly", "failed", "missing"]


@dataclass(frozen=True)
class RunView:
    """One run of the suite, and where it stands in the table."""

    run: RunSpec
    entries: Sequence[PlannedRun]
    record: Record | None
    failure: Failure | None
    store: ResultStore | None  # where the record was
    missing: dict[str, list[str]]  # protocol -> metrics that the record lacks
    budget: Budget
    curves: snapshots.UsageHistory | None
    portrait: snapshots.Snapshot | None
    notes: Sequence[str] = ()  # what of it could not be read

    @property
    def key(self) -> str:
        return self.run.key

    @property
    def label(self) -> str:
        """Its row; where several rows share the run, all of them."""
        return ", ".join(dict.fromkeys(entry.label for entry in self.entries))

    @property
    def name(self) -> str:
        """Row and seed: names the run among those of its data set."""
        return f"{self.label}, seed {self.run.seed}"

    @property
    def dataset(self) -> str:
        return self.entries[0].dataset

    @property
    def state(self) -> State:
        if self.record is not None:
            return "partly" if self.missing else "done"
        return "failed" if self.failure else "missing"

    @property
    def place(self) -> str:
        """Where the record is, from the results folder on: pages are sent to people who have other machines."""
        return f"{self.store.root.name}/{self.store.folder(self.run).name}/record.json" if self.store else ""

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.record.history if self.record else []

    @property
    def milliseconds(self) -> float | None:
        """Of training an update, selection and all."""
        updates = self.budget.updates
        return 1000 * self.record.made["seconds"] / updates if self.record and updates else None

    @cached_property
    def entropy(self) -> float | None:
        """Bits that the codes of an image cost by their empirical entropy, each depth by itself; None if not kept."""
        if self.portrait is None or self.portrait.counts is None:
            return None
        return self.portrait.positions * sum(map(statistics.entropy_bits, self.portrait.counts))

    def value(self, protocol_name: str, metric: str) -> float | None:
        """The measured value of this run, in whatever version the table wants."""
        if self.record is None or metric in self.missing.get(protocol_name, []):
            return None
        found = self.record.values.get(protocol_name, {}).get(metric)
        return found.value if found else None


@dataclass(frozen=True)
class Gathered:
    """All that a page is made from."""

    plan: Plan
    stores: Sequence[ResultStore]
    tables: Sequence[Table]
    runs: Sequence[RunView]
    command: str = ""
    _images: dict[str, dict[str, np.ndarray]] = field(default_factory=dict, repr=False)

    @cached_property
    def by_key(self) -> dict[str, RunView]:
        return {view.key: view for view in self.runs}

    def of(self, dataset: str) -> list[RunView]:
        return [view for view in self.runs if view.dataset == dataset]

    def images(self, key: str, name: str) -> np.ndarray | None:
        """Values of each image of the run ``key`` under ``name`` ("protocol/metric"), or None."""
        view = self.by_key[key]
        if view.store is None:
            return None
        if key not in self._images:
            self._images[key] = view.store.images(view.run)
        return self._images[key].get(name)


def gather(plan: Plan, stores: Sequence[ResultStore], paper: bool, command: str = "") -> Gathered:
    """Read what ``stores``, in order, hold of ``plan``. With ``paper``, tables have printed values and verdicts."""
    views, images = [], {}
    for run in plan.runs():
        found = assemble.find(run, stores)
        missing = found.store.missing(run, plan.wanted(run)) if found.store else {}
        entries = [entry for entry in plan.entries if run in entry.stages()]
        notes: list[str] = []
        curves = _read(snapshots.read_curves, found, run, notes)
        portrait = _read(snapshots.read_portrait, found, run, notes)
        folder = None
        if found.store is not None:
            folder = found.store.folder(run)
            images[run.key] = found.store.images(run)
            notes += [why for path, why in found.store.damage.items() if path == _images_of(found.store, run)]
        budget = budget_of(plan, entries[0], run, found.record, folder)
        views.append(
            RunView(
                run, entries, found.record, found.failure, found.store, missing, budget, curves, portrait, tuple(notes)
            )
        )
    return Gathered(plan, stores, assemble.tables(plan, stores, paper), views, command, images)


def _images_of(store: ResultStore, run: RunSpec) -> Path:
    return store.folder(run) / "per_image.npz"


def _read(reader: Any, found: assemble.Found, run: RunSpec, notes: list[str]) -> Any:
    """What is kept for a page beside a record, if anything; a damaged file costs its own image alone, and is told."""
    if found.store is None:
        return None
    try:
        return reader(found.store.folder(run))
    except StoreError as error:
        notes.append(str(error))
        found.store.damage[found.store.folder(run)] = str(error)
        return None


def knobs(plan: Plan) -> dict[str, list[tuple[str, Any, Any, str]]]:
    """Every setting of the protocols: use and name -> (setting, value, the protocol's own value, reason)."""
    train = plan.suite.train.name
    args = plan.entries[0].run.recipe.args
    known = protocol.TRAIN[train].settings if train in protocol.TRAIN else {}  # empty where a recipe is named itself
    told = {f"Trained under {train}": [_setting(name, value, known.get(name)) for name, value in args.items()]}
    for name in plan.protocols():
        settings = ValueName.parse(name).measuring.knobs()
        told[f"Measured under {name}"] = [
            (each, knob.value, knob.value, knob.reason) for each, knob in settings.items()
        ]
    return told


def _setting(name: str, value: Any, knob: protocol.Knob | None) -> tuple[str, Any, Any, str]:
    if knob is None:
        return name, value, value, "no setting of the protocol"
    return name, value, knob.value, knob.reason if value == knob.value else f"changed by the suite from {knob.value}"
