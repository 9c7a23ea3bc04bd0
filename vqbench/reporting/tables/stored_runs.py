"""Read the records of a plan's runs from the results stores, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vqbench.planning.plan import Plan, PlannedRun
from vqbench.reporting.paper.conditions import rounded_runs, rounding, rounding_allowed
from vqbench.spec import RunSpec
from vqbench.store.record import Failure, Record
from vqbench.store.results import ResultStore
from vqbench.system.provenance import Origin, origins_of


@dataclass(frozen=True)
class StoredRun:
    """The record of one planned run, or why it failed."""

    run: RunSpec  # the run of the record; without a record, the planned one
    record: Record | None
    failure: Failure | None
    store: ResultStore | None  # that has the record
    precision: str = ""  # of the training, where it needs a footnote beside printed values


class StoredRuns:
    """All runs of a plan with their records, from the first store that has one.

    With ``paper``, for a comparison with printed values, a run without a record is replaced by one that differs from
    it by the precision of training alone, where such a run has a record (see
    :mod:`vqbench.reporting.paper.conditions`).
    """

    def __init__(self, plan: Plan, stores: Sequence[ResultStore], paper: bool = False) -> None:
        self.plan, self.stores = plan, stores
        search = _find_rounded if paper and rounding_allowed(plan) else find
        self._by_key = {run.key: search(run, stores) for run in plan.runs()}
        self._images: dict[str, dict[str, NDArray[np.float32]]] = {}

    def __getitem__(self, run: RunSpec) -> StoredRun:
        """Return the record of the planned ``run``, or why it failed."""
        return self._by_key[run.key]

    def __iter__(self) -> Iterator[StoredRun]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def origins(self, entry: PlannedRun) -> tuple[Origin, ...]:
        """Return the machines that trained the stages of ``entry``, each once."""
        records = [self[run].record for run in entry.stages()]
        return tuple(dict.fromkeys(origin for record in records if record for origin in origins_of(record.made)))

    def images(self, stored: StoredRun) -> dict[str, NDArray[np.float32]]:
        """Return values per image by "protocol/metric"; empty where none can be read."""
        if stored.store is None:
            return {}
        key = stored.run.key
        if key not in self._images:
            self._images[key] = stored.store.images(stored.run)
        return self._images[key]

    def images_of(self, key: str, name: str) -> NDArray[np.float32] | None:
        """Return values per image of the run ``key`` under "protocol/metric", or None."""
        stored = next((each for each in self if each.run.key == key), None)
        return self.images(stored).get(name) if stored else None


def find(run: RunSpec, stores: Sequence[ResultStore]) -> StoredRun:
    """Return the record of ``run`` in the first store that has one.

    Without any, why the run failed, if it did.
    """
    failure = None
    for store in stores:
        record = store.sound(run)
        if record is not None:
            return StoredRun(run, record, None, store)
        failure = failure or store.obstacle(run)
    return StoredRun(run, None, failure, None)


def _find_rounded(run: RunSpec, stores: Sequence[ResultStore]) -> StoredRun:
    """Like :func:`find`, but fall back to a record in another precision."""
    planned = find(run, stores)
    for other in [] if planned.record else rounded_runs(run):
        stored = find(other, stores)
        if stored.record:
            return replace(stored, precision=rounding(other))
    return replace(planned, precision=rounding(run))
