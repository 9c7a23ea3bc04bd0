"""Resolved suites on disk: those of earlier versions are read, and damaged ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vqbench.planning import plan_file
from vqbench.store.results import ResultStore

RESULTS = Path(__file__).parents[2] / "results"
OLD = RESULTS / "suites" / "quick.json"


def test_published_plans_are_read() -> None:
    """Every published plan is read, with its upper bounds, lengths and sampling."""
    store = ResultStore(RESULTS)
    plans = {plan.name: plan for plan in plan_file.stored(store)}
    assert store.damage == {}
    assert {entry.label for entry in plans["modern_quick"].entries if entry.upper_bound} == {"identity"}
    assert str(plans["generate_codes"].sampling).startswith("1,000 samples (temperature 1)")


def test_a_plan_survives(tmp_path: Path) -> None:
    """A plan that is written is read back equal, and its name for upper bounds is that of this version."""
    [plan] = [plan for plan in plan_file.stored(ResultStore(RESULTS)) if plan.name == "generate_codes"]
    store = ResultStore(tmp_path)
    plan_file.save(plan, store)
    [back] = plan_file.stored(store)
    assert back.suite.model_dump() == plan.suite.model_dump()
    assert replace(back, suite=plan.suite) == plan
    entries = json.loads(plan_file.path_of(store, plan.name).read_text())["entries"]
    assert all("upper_bound" in entry and "ceiling" not in entry for entry in entries)


def test_codes_that_depend_on_the_batch_survive(tmp_path: Path) -> None:
    """What a plan says of them is written and read back; plans of earlier versions say nothing, which is no."""
    [plan] = [plan for plan in plan_file.stored(ResultStore(RESULTS)) if plan.name == "quick"]
    assert not any(entry.batch_dependent for entry in plan.entries)
    plan.entries[0] = replace(plan.entries[0], batch_dependent=True)
    plan_file.save(plan, store := ResultStore(tmp_path))
    [back] = plan_file.stored(store)
    assert [entry.batch_dependent for entry in back.entries[:2]] == [True, False]


@pytest.mark.parametrize(
    "change", [{"upper_bound": 1}, {"upper_bound": None}, {"batch_dependent": 0}, {"row": "0"}, {"more": 1}]
)
def test_a_wrong_entry_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    """An entry with a field of a wrong type, or with an unknown one, is damage."""
    content = json.loads(OLD.read_text())
    content.pop("digest", None)
    content["entries"][0].pop("ceiling", None)
    content["entries"][0] |= {"upper_bound": False, **change}
    (tmp_path / "quick.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="entries: 0"):
        plan_file.read(tmp_path / "quick.json")
