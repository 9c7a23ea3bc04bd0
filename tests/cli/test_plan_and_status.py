"""Plan and status: the runs of a suite, what they share, and how far they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench


def test_plan_and_status_of_a_suite_that_was_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plan lists the runs of the paper's suites with their updates; status shows all as not begun."""
    for suite, runs, updates in (("small_datasets", 8, 29_500), ("ablation", 15, 29_500), ("anchors", 16, 29_500)):
        assert vqbench("plan", suite, "--store", tmp_path, "--results", tmp_path / "none", "--json") == 0
        plan = json.loads(capsys.readouterr().out)
        assert (plan["distinct"], plan["left"]) == (runs, runs)
        assert {row["updates"] for row in plan["runs"] if row["dataset"] == "mnist"} == {updates}
        assert {row["updates"] for row in plan["runs"] if row["dataset"] == "cifar10"} == {24_500}
    assert vqbench("status", "quick", "--store", tmp_path, "--json") == 0
    assert {row["state"] for row in json.loads(capsys.readouterr().out)["runs"]} == {"not begun"}


def test_plan_says_which_runs_suites_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows in two of the paper's tables are listed as shared, in every command."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))  # no plan that another process kept
    assert vqbench("plan", "ablation", "--store", tmp_path, "--results", tmp_path / "none", "--json") == 0
    shared = {
        (row["row"][0], row["dataset"]): row["shared_with"] for row in json.loads(capsys.readouterr().out)["runs"]
    }
    assert "small_datasets" in shared["A", "mnist"]
    assert "small_datasets" in shared["E", "cifar10"]
    assert "anchors" in shared["C", "mnist"]
    assert "anchors" in shared["D", "cifar10"]
    assert shared["B", "mnist"] == []
    assert shared["A", "fashion_mnist"] == []
