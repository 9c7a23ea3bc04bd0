"""Tuned rows of a published suite have the settings that its published trials chose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vqbench.planning import loading
from vqbench.planning.plan import PlannedRun
from vqbench.store.results import ResultStore

ROOT = Path(__file__).resolve().parents[2]
TUNED = " (tuned)"


def entries(suite: str) -> list[PlannedRun]:
    """Return the runs of a shipped suite."""
    return list(loading.load(ROOT / "suites" / f"{suite}.yaml", []).entries)


def method(label: str) -> str:
    """Return a row's label without its setting or mark in parentheses."""
    return label.rpartition(" (")[0] or label


def setting(entry: PlannedRun) -> dict[str, Any]:
    """Return what trials vary: the quantizer with its arguments, and the learning rate."""
    quantizer = entry.run.quantizer
    return {"quantizer": quantizer.name, **quantizer.args, "learning_rate": entry.run.recipe.args["learning_rate"]}


def test_tuned_rows_have_the_settings_of_the_best_trials() -> None:
    """Every (tuned) row of tuned_fashion repeats the trial of tuning_fashion with the least selection error."""
    store = ResultStore(ROOT / "results")
    errors: dict[str, list[tuple[float, dict[str, Any]]]] = {}
    for trial in entries("tuning_fashion"):
        record = store.sound(trial.run)
        assert record is not None, f"the trial {trial.label} is not published"
        errors.setdefault(method(trial.label), []).append((record.history[0]["selection_error"], setting(trial)))
    tuned = {method(entry.label): setting(entry) for entry in entries("tuned_fashion") if entry.label.endswith(TUNED)}
    assert tuned == {label: min(trials, key=lambda trial: trial[0])[1] for label, trials in errors.items()}
    assert {len(trials) for trials in errors.values()} == {14}, "every method has the same number of trials"
