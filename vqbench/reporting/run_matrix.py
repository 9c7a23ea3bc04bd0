"""The run matrix of a suite: what is done, what is left, and what it costs."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from vqbench.errors import VqbenchError
from vqbench.planning import loading
from vqbench.planning.cost import kind, median_seconds, rough_estimate, updates
from vqbench.planning.plan import Plan
from vqbench.planning.suite_files import known_suites
from vqbench.reporting.run_states import row_name
from vqbench.store.record import lacking
from vqbench.store.record_summary import RecordSummary
from vqbench.store.results import ResultStore


@dataclass(frozen=True)
class MatrixCell:
    """One cell of the run matrix. Several cells of a suite may be the same run."""

    row: str
    dataset: str
    seed: int
    key: str
    state: str  # done, to do, to measure, failed, or what is damaged
    updates: int | None  # None where the recipe cannot say
    seconds: float | None  # measured, else expected from runs of the same kind; None where none was trained
    rough: float | None  # estimated seconds on two CPU cores, where none was trained; None where unknown
    shared_with: tuple[str, ...]  # names of other suites with the same run


@dataclass(frozen=True)
class RunMatrix:
    """All cells of a suite, and the files that could not be read."""

    suite: str
    cells: Sequence[MatrixCell]
    damage: Sequence[str]  # one sentence per damaged record of other suites

    @property
    def runs(self) -> list[MatrixCell]:
        """The distinct runs."""
        return list({cell.key: cell for cell in self.cells}.values())

    @property
    def left(self) -> list[MatrixCell]:
        """The distinct runs that ``vqbench run`` would work on."""
        return [cell for cell in self.runs if cell.state not in ("done", "failed")]

    @property
    def failed(self) -> list[MatrixCell]:
        """The distinct runs that failed, which are tried again on request only."""
        return [cell for cell in self.runs if cell.state == "failed"]

    @property
    def training_seconds(self) -> float | None:
        """Expected seconds of the training that is left.

        None where no such run was trained before.
        """
        seconds = [cell.seconds for cell in self.left if cell.state != "to measure"]
        return None if None in seconds else sum(each for each in seconds if each is not None)

    @property
    def rough_seconds(self) -> float | None:
        """Rough seconds of the training that is left.

        Estimated for two CPU cores where no such run was trained before; None where unknown.
        """
        left = [cell for cell in self.left if cell.state != "to measure"]
        seconds = [cell.rough if cell.seconds is None else cell.seconds for cell in left]
        return None if None in seconds else sum(each for each in seconds if each is not None)


def run_matrix(plan: Plan, store: ResultStore, shared: Mapping[str, Sequence[str]] = MappingProxyType({})) -> RunMatrix:
    """List every cell of ``plan`` with its state in ``store``.

    ``shared`` are the names of other suites with the same run, by key; see :func:`shared_runs`.
    """
    with _without_garbage_collection():
        records = {record.run.key: record for record in store.summaries()}  # there may be thousands
        known = median_seconds(records.values())
        wanted = {second: plan.wanted_of(second) for second in (False, True)}
        cells = []
        for entry, run in ((each, run) for each in plan.entries for run in each.stages()):
            record = records.get(run.key)
            missing = lacking(record, wanted[run == entry.second])
            failed = "failed" if missing and store.obstacle(run) else ""
            cells.append(
                MatrixCell(
                    row=row_name(entry, run),
                    dataset=entry.dataset,
                    seed=entry.seed,
                    key=run.key,
                    state=store.standing(run) or failed or _next_step(record, missing),
                    updates=updates(plan, run),
                    seconds=record.seconds if record else known.get(kind(run)),
                    rough=rough_estimate(plan, run),
                    shared_with=tuple(shared.get(run.key, ())),
                )
            )
        own = {store.folder(run) / "record.json" for run in plan.runs()}  # whose cells say so
    return RunMatrix(plan.suite.name, cells, [text for path, text in store.damage.items() if path not in own])


def _next_step(record: RecordSummary | None, missing: Mapping[str, Any]) -> str:
    """What is left to do of a run that did not fail."""
    return "done" if not missing else "to measure" if record else "to do"


def shared_runs(plan: Plan, stores: Sequence[ResultStore]) -> dict[str, list[str]]:
    """Map run keys of ``plan`` to the names of other suites with the same run.

    Resolved suites are read from ``stores``; the last keeps those that none has.
    """
    shared: dict[str, list[str]] = {}
    own = {run.key for run in plan.runs()}
    for name, path in known_suites().items():
        if name == plan.suite.name:
            continue
        try:
            keys = loading.keys(path, stores)
        except VqbenchError:
            continue  # a suite that is broken or for another version does not matter to this plan
        for key in keys & own:
            shared.setdefault(key, []).append(name)
    return shared


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause garbage collection.

    It would walk thousands of records, all of them trees, again and again.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
