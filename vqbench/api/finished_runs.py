"""Find a finished run by its key, its folder, or a suite and a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from vqbench.errors import UsageError, nearest
from vqbench.planning import loading, plan_file
from vqbench.planning.plan import PlannedRun
from vqbench.planning.suite_files import known_suites, load_suite
from vqbench.spec import RunSpec
from vqbench.store.record import Record
from vqbench.store.results import ResultStore
from vqbench.system.paths import is_file

REDUCED = "_reduced"  # ends the name of a suite's reduced copy
LISTED = 10  # runs that one sentence lists

Stage = Callable[[PlannedRun], RunSpec | None]  # of a place in a table: the run that is meant


def find_run(
    store: ResultStore, name: str | Path, row: str | None = None, second_stage: bool = False
) -> tuple[ResultStore, Record]:
    """Find one finished run, and the store that has it.

    Args:
        store: where names are looked up.
        name: a key, its beginning, the name or the path of a run's folder, or a suite.
        row: label or quantizer of a row, if ``name`` is a suite; not needed where a suite has one finished run. What
            counts are the runs that ``store`` has of the suite, be they of a reduced or a changed copy.
        second_stage: the row's second stage is meant, not its first.

    Raises:
        UsageError: if no run, or more than one, is called so; with those that exist.
        StoreError: if the record cannot be read.
    """
    folder = Path(name)
    if row is None and is_file(folder / "record.json"):
        folder = folder.resolve()
        store = ResultStore(folder.parent)
        return store, store.find(folder.name)
    if row is None:
        try:
            return store, store.find(str(name))
        except UsageError as error:
            if "begins the keys" in str(error) or not (plans := _plans(store, str(name))):
                suites = ", ".join(_suites(store))
                more = f"; or name a suite ({suites}) and the label of a row" if suites else ""
                raise UsageError(f"{error}{more}") from None
    elif not (plans := _plans(store, str(name))):
        raise UsageError(_no_suite(store, str(name)))
    entry_stage: Stage = (lambda entry: entry.second) if second_stage else (lambda entry: entry.run)
    return store, store.find(_only(store, str(name), plans, row, entry_stage).key)


def _plans(store: ResultStore, suite: str) -> list[list[PlannedRun]]:
    """List the places of each resolved copy of ``suite``; none if it is unknown.

    Of a suite that was never resolved for the store, those of its file.
    """
    names = {suite, suite.removesuffix(".yaml"), Path(suite).stem}
    with suppress(UsageError):
        names.add(load_suite(suite).name)
    kept = [
        plan for plan in plan_file.stored(store) if {plan.suite.name, plan.suite.name.removesuffix(REDUCED)} & names
    ]
    if kept:
        return [plan.entries for plan in kept]
    if suite in known_suites() or is_file(suite):
        return [loading.load(suite, [store]).entries]
    return []


def _only(
    store: ResultStore, suite: str, plans: Sequence[Sequence[PlannedRun]], row: str | None, stage: Stage
) -> RunSpec:
    """Return the one finished run of ``row``. Raises UsageError for none or several."""
    entries = [entry for entries in plans for entry in entries if stage(entry) is not None]
    if not entries:
        raise UsageError(f"suite {suite!r} has no second stage; name one that generates, or a first stage's run")
    wanted = [entry for entry in entries if row is None or row == entry.label]
    wanted = wanted or [entry for entry in entries if row == entry.run.quantizer.name]
    labels = dict.fromkeys([*(entry.label for entry in entries), *_labels_in_file(suite)])
    if not wanted and row not in labels:
        raise UsageError(f"suite {suite!r} has no row {row!r}; {nearest(row, labels)}")
    finished: dict[str, PlannedRun] = {}  # key -> the first place of the run
    for entry in wanted:
        if (run := stage(entry)) is not None and run in store:
            finished.setdefault(run.key, entry)
    if not finished:
        option = "" if row is None else f' --only "{row}"'
        what = f"suite {suite!r}" if row is None else f"row {row!r} of suite {suite!r}"
        raise UsageError(f"{store.root} has no finished run of {what}; `vqbench run {suite}{option}` trains it")
    if len(finished) > 1:
        listed = [f"{each.label} on {each.dataset}, seed {each.seed} ({key})" for key, each in finished.items()]
        more = f", and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
        add = "add a row's label, or name one by its key" if row is None else "name one by its key"
        raise UsageError(f"{len(listed)} finished runs, so {add}: {'; '.join(listed[:LISTED])}{more}")
    run = stage(next(iter(finished.values())))
    assert run is not None  # entries without this stage are left out above
    return run


def _labels_in_file(suite: str) -> list[str]:
    """List the rows of a suite's file, of which a store may have resolved fewer."""
    with suppress(UsageError):
        return [row.label for row in load_suite(suite).rows()]
    return []


def _suites(store: ResultStore) -> list[str]:
    """List the suites that were resolved for ``store``."""
    return list(dict.fromkeys(plan.suite.name.removesuffix(REDUCED) for plan in plan_file.stored(store)))


def _no_suite(store: ResultStore, name: str) -> str:
    return f"{name!r}: no suite of this name has runs in {store.root}; {nearest(name, _suites(store))}"
