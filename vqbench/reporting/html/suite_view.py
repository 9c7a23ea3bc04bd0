"""The view model of a suite: its runs and tables, read once from the stores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from vqbench import protocol
from vqbench.errors import StoreError
from vqbench.functional.code_entropy import image_entropy_bits
from vqbench.planning.plan import Plan, PlannedRun
from vqbench.reporting.tables.assemble import tables_of
from vqbench.reporting.tables.budget import Budget, budget_of
from vqbench.reporting.tables.stored_runs import StoredRun, StoredRuns
from vqbench.reporting.tables.table import Table
from vqbench.spec import RunSpec
from vqbench.store import snapshots
from vqbench.store.record import Failure, Record
from vqbench.store.results import ResultStore
from vqbench.store.value_name import ValueName
from vqbench.system.console import one_line

State = Literal["done", "partly", "failed", "missing"]


@dataclass(frozen=True)
class RunView:
    """One run of the suite, with its entries in the table."""

    stored: StoredRun
    entries: Sequence[PlannedRun]
    missing: dict[str, list[str]]  # protocol -> metrics that are missing from the record
    budget: Budget
    curves: snapshots.UsageHistory | None
    portrait: snapshots.Snapshot | None
    notes: Sequence[str] = ()  # on files that could not be read
    samples: snapshots.SampleSnapshot | None = None  # of a generator

    @property
    def run(self) -> RunSpec:
        return self.stored.run

    @property
    def record(self) -> Record | None:
        return self.stored.record

    @property
    def failure(self) -> Failure | None:
        return self.stored.failure

    @property
    def store(self) -> ResultStore | None:
        return self.stored.store

    @property
    def key(self) -> str:
        return self.run.key

    @property
    def second_stage(self) -> bool:
        """Whether it is a generator on the codes of another run."""
        return self.run.parent is not None and all(entry.run.key != self.key for entry in self.entries)

    @property
    def label(self) -> str:
        """Its row or rows in the table, and the recipe's name for a second stage."""
        rows = ", ".join(dict.fromkeys(entry.label for entry in self.entries))
        return f"{rows} + {self.run.recipe.name}" if self.second_stage else rows

    @property
    def name(self) -> str:
        """Row and seed, which name the run among those of its data set."""
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
        """The path of the record from the results folder on, valid on any machine."""
        return f"{self.store.name}/{self.store.folder(self.run).name}/record.json" if self.store else ""

    @property
    def history(self) -> list[dict[str, Any]]:
        return self.record.history if self.record else []

    @property
    def milliseconds(self) -> float | None:
        """Training time per update in milliseconds, selection included."""
        updates = self.budget.updates
        return 1000 * self.record.made["seconds"] / updates if self.record and updates else None

    @property
    def counts(self) -> np.ndarray | None:
        """How often each code occurs on the test split, (depth, K); None where unknown."""
        return self.portrait.counts if self.portrait else None

    @cached_property
    def entropy(self) -> float | None:
        """Bits per image at the empirical entropy of the codes, or None.

        The sum over depths, such as the scales of a multi-scale method, of codes per image times their entropy.
        """
        if self.portrait is None or self.portrait.counts is None:
            return None
        counts, cells = self.portrait.counts, self.portrait.codes_per_image
        if cells is None:  # a snapshot of an earlier version: one code per position, unless the bits say otherwise
            cells = np.full(len(counts), self.portrait.positions)
            uniform = float(cells.sum()) * math.log2(counts.shape[1])
            if self.budget.bits is not None and not math.isclose(uniform, self.budget.bits, rel_tol=1e-6):
                return None
        return image_entropy_bits(counts, [int(n) for n in cells])

    def value(self, protocol_name: str, metric: str) -> float | None:
        """Return the value of ``metric`` in the version that the table wants, or None."""
        if self.record is None or metric in self.missing.get(protocol_name, []):
            return None
        stored = self.record.values.get(protocol_name, {}).get(metric)
        return stored.value if stored else None


@dataclass(frozen=True)
class SuiteView:
    """The content of a page: a plan with its runs and tables."""

    plan: Plan
    stored: StoredRuns
    tables: Sequence[Table]
    runs: Sequence[RunView]
    command: str = ""

    @cached_property
    def by_key(self) -> dict[str, RunView]:
        return {view.key: view for view in self.runs}

    def of(self, dataset: str) -> list[RunView]:
        return [view for view in self.runs if view.dataset == dataset]

    def tokenizer(self, view: RunView) -> RunView:
        """Return the first stage of a run: itself, or the run whose codes it models."""
        parent = self.by_key.get(view.run.parent) if view.run.parent and view.second_stage else None
        return self.tokenizer(parent) if parent else view

    def generators(self, views: Sequence[RunView], label: str) -> list[RunView]:
        """Return the second stages on some first stages, of the row of this label."""
        parents = {view.key for view in views}
        rows = [view for view in self.runs if view.run.parent in parents]
        return [view for view in rows if any(one_line(entry.label) == label for entry in view.entries)]

    def images(self, key: str, name: str) -> np.ndarray | None:
        """Return values per image of the run ``key`` under "protocol/metric", or None."""
        return self.stored.images(self.by_key[key].stored).get(name)


def suite_view(plan: Plan, stores: Sequence[ResultStore], paper: bool, command: str = "") -> SuiteView:
    """Read the records of ``plan`` from ``stores``, in order.

    With ``paper``, tables have printed values and verdicts.
    """
    stored = StoredRuns(plan, stores, paper)
    views = [_run_view(stored, run) for run in plan.runs()]
    return SuiteView(plan, stored, tables_of(stored, paper), views, command)


def _run_view(stored: StoredRuns, planned: RunSpec) -> RunView:
    each = stored[planned]
    run, store = each.run, each.store
    entries = [entry for entry in stored.plan.entries if planned in entry.stages()]
    notes: list[str] = []
    curves = _read(snapshots.read_usage, store, run, notes)
    portrait = _read(snapshots.read_snapshot, store, run, notes)
    samples = _read(snapshots.read_samples, store, run, notes)
    missing: dict[str, list[str]] = {}
    if store is not None:
        missing = store.missing(run, stored.plan.wanted(run))
        stored.images(each)  # notes damage of the file
        notes += [why for path, why in store.damage.items() if path == store.folder(run) / "per_image.npz"]
    budget = budget_of(stored.plan, entries[0], planned, each.record, store.folder(run) if store else None)
    return RunView(each, entries, missing, budget, curves, portrait, tuple(notes), samples)


def _read(reader: Any, store: ResultStore | None, run: RunSpec, notes: list[str]) -> Any:
    """Read an optional file beside a record; note damage instead of failing."""
    if store is None:
        return None
    try:
        return reader(store.folder(run))
    except StoreError as error:
        notes.append(str(error))
        store.damage[store.folder(run)] = str(error)
        return None


def protocol_settings(plan: Plan) -> dict[str, list[tuple[str, Any, Any, str]]]:
    """List every setting of the protocols with its reason.

    By use: (name, value, the protocol's own value, reason).
    """
    train = plan.suite.train.name
    args = plan.entries[0].run.recipe.args
    known = protocol.TRAIN[train].settings if train in protocol.TRAIN else {}  # empty if the suite names a recipe
    settings = {f"Training protocol {train}": [_setting(name, value, known.get(name)) for name, value in args.items()]}
    for name in plan.protocols():
        settings[f"Measuring protocol {name}"] = [
            (each, knob.value, knob.value, knob.reason)
            for each, knob in ValueName.parse(name).measuring.knobs().items()
        ]
    return settings


def _setting(name: str, value: Any, knob: protocol.Knob | None) -> tuple[str, Any, Any, str]:
    if knob is None:
        return name, value, value, "not a setting of the protocol"
    return name, value, knob.value, knob.reason if value == knob.value else f"changed by the suite, from {knob.value}"
