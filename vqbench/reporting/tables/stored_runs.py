"""The records that the stores hold of a plan's runs, each read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vqbench.planning.plan import Plan, PlannedRun
from vqbench.spec import RunSpec
from vqbench.store.results import Failure, Record, ResultStore
from vqbench.system.machine import Origin, origins_of


@dataclass(frozen=True)
class StoredRun:
    """What the stores hold of one planned run."""

    record: Record | None
    failure: Failure | None
    store: ResultStore | None  # that has the record


class StoredRuns:
    """All runs of a plan with what ``stores`` hold of them; of several records of a run, that of the first store."""

    def __init__(self, plan: Plan, stores: Sequence[ResultStore]) -> None:
        self.plan, self.stores = plan, stores
        self._by_key = {run.key: find(run, stores) for run in plan.runs()}
        self._images: dict[str, dict[str, NDArray[np.float32]]] = {}

    def __getitem__(self, run: RunSpec) -> StoredRun:
        return self._by_key[run.key]

    def __iter__(self) -> Iterator[StoredRun]:
        return iter(self._by_key.values())

    def __len__(self) -> int:
        return len(self._by_key)

    def origins(self, entry: PlannedRun) -> tuple[Origin, ...]:
        """The machines that trained the stages of ``entry``, each once."""
        records = [self[run].record for run in entry.stages()]
        return tuple(dict.fromkeys(origin for record in records if record for origin in origins_of(record.made)))

    def images(self, run: RunSpec) -> dict[str, NDArray[np.float32]]:
        """Values per image by "protocol/metric"; empty where none are stored, and where they cannot be read."""
        stored = self[run]
        if stored.store is None:
            return {}
        if run.key not in self._images:
            self._images[run.key] = stored.store.images(run)
        return self._images[run.key]


def find(run: RunSpec, stores: Sequence[ResultStore]) -> StoredRun:
    """The record of ``run`` in the first of ``stores`` that has one; without any, why the run failed, if it did."""
    failure = None
    for store in stores:
        record = store.sound(run)
        if record is not None:
            return StoredRun(record, None, store)
        failure = failure or store.obstacle(run)
    return StoredRun(None, failure, None)
