"""Collect how rows were trained: on which machines, with what budget."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vqbench.planning.plan import PlannedRun
from vqbench.reporting.tables.budget import Budget, budget_of
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.system.provenance import Origin

Machines = frozenset[Origin]


@dataclass(frozen=True)
class TrainingFacts:
    """Budgets and machines of one method on one data set and setting, over seeds."""

    budgets: Sequence[Budget] = ()
    origins: Mapping[int, tuple[Origin, ...]] = field(default_factory=dict)  # by seed

    @property
    def machines(self) -> Machines:
        return frozenset(origin for each in self.origins.values() for origin in each)

    def __bool__(self) -> bool:
        return bool(self.origins)


def training_facts(stored: StoredRuns, entries: Sequence[PlannedRun]) -> TrainingFacts:
    """Collect the facts of one row's ``entries``.

    Entries that lack the record of a stage do not count.
    """
    whole = [entry for entry in entries if all(stored[run].record for run in entry.stages())]
    return TrainingFacts(
        [_budget(stored, entry) for entry in whole], {entry.seed: stored.origins(entry) for entry in whole}
    )


def _budget(stored: StoredRuns, entry: PlannedRun) -> Budget:
    """Return the budget of all stages; parameters, bits and codes are the first's."""
    stages = []
    for run in entry.stages():
        each = stored[run]
        folder = each.store.folder(each.run) if each.store else None
        stages.append(budget_of(stored.plan, entry, run, each.record, folder))
    totals = {name: total(getattr(stage, name) for stage in stages) for name in ("updates", "images", "state")}
    return replace(stages[0], **totals)


def total(values: Iterable[Any]) -> Any:
    """Sum ``values``; None where one is unknown."""
    known = list(values)
    return None if None in known else sum(known)
