"""The state of every run of a suite: done, running, stopped, failed or not begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vqbench.planning.plan import Plan, PlannedRun
from vqbench.spec import RunSpec
from vqbench.store.record import Record, lacking
from vqbench.store.results import ResultStore


@dataclass(frozen=True)
class RunState:
    """One run of a suite and how far it is."""

    row: str
    dataset: str
    seed: int
    key: str
    state: str
    seconds: float | None = None  # of training; None without a record
    date: str | None = None  # of the record, in UTC

    @property
    def word(self) -> str:
        """The state without its reason or details."""
        return _word(self.state)


def run_states(plan: Plan, store: ResultStore) -> list[RunState]:
    """List the runs of ``plan`` in table order, a second stage below its first."""
    states = []
    for entry, run in ((each, run) for each in plan.entries for run in each.stages()):
        record = store.sound(run)
        seconds, date = (record.made["seconds"], record.made["date"] or None) if record else (None, None)
        states.append(
            RunState(
                row=row_name(entry, run),
                dataset=entry.dataset,
                seed=entry.seed,
                key=run.key,
                state=_state(plan, store, run, record),
                seconds=seconds,
                date=date,
            )
        )
    return states


def row_name(entry: PlannedRun, run: RunSpec) -> str:
    """Name a run in a list by its row; a second stage also by its recipe."""
    return f"{run.recipe.name} on {entry.label}" if run == entry.second else entry.label


def counts(states: Iterable[RunState]) -> dict[str, int]:
    """Count distinct runs by state, without its reason: "done", "not begun"."""
    return dict(Counter({each.key: each.word for each in states}.values()))


def state(plan: Plan, store: ResultStore, run: RunSpec) -> str:
    """Describe the state of one run of ``plan``, with the reason of a failure."""
    return _state(plan, store, run, store.sound(run))


def _state(plan: Plan, store: ResultStore, run: RunSpec, record: Record | None) -> str:
    missing = lacking(record, plan.wanted(run))
    if not missing:
        return "done"
    if damaged := store.standing(run):
        return damaged
    if (first := plan.first_of(run)) and first not in store:
        return f"waits for {first.key}, {state(plan, store, first)}"
    if store.folder(run).exists() and store.is_locked(run):
        return "running"
    if failure := store.obstacle(run):
        return store.standing(run) or f"failed: {failure.reason}"
    if run in store:
        return "trained, lacks " + ", ".join(f"{metric} ({name})" for name, ms in missing.items() for metric in ms)
    return "stopped, will resume" if (store.folder(run) / "last.pt").exists() else "not begun"


def remaining(plans: Sequence[Plan], store: ResultStore, retry_failed: bool) -> dict[str, int]:
    """Count the runs that the same command would still work on, by state."""
    states = {run.key: state(plan, store, run) for plan in plans for run in plan.runs()}
    kinds = map(_word, states.values())
    return dict(Counter(kind for kind in kinds if kind != "done" and (kind != "failed" or retry_failed)))


def _word(state: str) -> str:
    return "waiting" if state.startswith("waits for") else state.partition(":")[0].partition(",")[0]
