"""Tables of trials: the selection error is a column, and learning rates are groups."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.reporting.html import page
from vqbench.reporting.html.suite_view import suite_view
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.render import render
from vqbench.reporting.tables.table import Table
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

SUITE = """
name: trials
title: Trials
train: {clean: {epochs: 2, batch_size: 64, learning_rate: 1e-3}}
measure: [clean]
datasets: [fashion_mnist_5k]
codebook: {num_codes: 64, dim: 8}
quantizers:
  - {vq: {beta: [0.25, 1.0]}, label: VQ, train: {clean: {epochs: 2, batch_size: 64, learning_rate: 1e-3}}}
  - {vq: {beta: [0.25, 1.0]}, label: VQ, train: {clean: {epochs: 2, batch_size: 64, learning_rate: 3e-3}}}
seeds: [1]
metrics: [psnr]
table: {layout: side_by_side, group: learning_rate, columns: [selection_error]}
"""


def stored(folder: Path, histories: dict[tuple[float, float], list[float | None]]) -> tuple[Plan, ResultStore]:
    """Store runs of SUITE, by learning rate and beta, that have these selection errors per epoch."""
    (folder / "trials.yaml").write_text(SUITE)
    plan, store = loading.load(folder / "trials.yaml", []), ResultStore(folder / "runs")
    made: dict[str, Any] = {
        "seconds": 1.0,
        "device": "a CPU",
        "threads": 1,
        "versions": {"torch": "2"},
        "commit": None,
        "date": "2026-01-31T12:00:00Z",
        "measured": [],
    }
    for entry in plan.entries:
        errors = histories.get((entry.run.recipe.args["learning_rate"], entry.run.quantizer.args["beta"]))
        if errors is not None:
            history = [{"epoch": number, "selection_error": error} for number, error in enumerate(errors, 1)]
            store.write(Record(entry.run, {"clean": {"psnr": Value(20.0, 1, 1, 1000)}}, made, history))
    return plan, store


def table_of(folder: Path, histories: dict[tuple[float, float], list[float | None]]) -> Table:
    """Return the table of SUITE with the runs of :func:`stored`."""
    plan, store = stored(folder, histories)
    [table] = assemble.tables(plan, [store])
    return table


def test_the_error_of_the_kept_epoch_is_shown(tmp_path: Path) -> None:
    """It is the least finite one, not the last; without a selection the cell is empty, without a run it is to do."""
    histories = {(1e-3, 0.25): [0.3, 0.1, 0.2], (1e-3, 1.0): [math.nan, 0.5], (3e-3, 0.25): [None, None]}
    table = table_of(tmp_path, histories)
    cells = [[(cell.status, list(cell.values)) for cell in row.cells] for row in table.blocks[0].rows]
    assert cells == [[("ok", [0.1]), ("none", [])], [("ok", [0.5]), ("missing", [])]]


def test_learning_rates_are_groups_of_columns(tmp_path: Path) -> None:
    """A row is one weight under all learning rates; the caption says which rate each training is."""
    table = table_of(tmp_path, {(1e-3, 0.25): [0.3]})
    assert [group.label for group in table.groups] == ["learning_rate = 0.001", "learning_rate = 0.003"]
    assert [row.label for row in table.blocks[0].rows] == ["VQ (beta=0.25)", "VQ (beta=1.0)"]
    text = " ".join(render(table, width=100).split())
    assert "learning rate 0.001, float32): learning_rate = 0.001; clean (2 epochs, batch 64," in text
    assert "mean squared error of the images that select the epoch" in text


def test_the_selection_error_is_not_ranked(tmp_path: Path) -> None:
    """No cell is best: images that choose a row's weights do not judge it."""
    table = table_of(tmp_path, {(1e-3, 0.25): [0.3], (1e-3, 1.0): [0.1], (3e-3, 0.25): [0.2], (3e-3, 1.0): [0.4]})
    assert not [place for place in table.places() if place.rank]


def test_the_page_says_once_why_no_trial_leads(tmp_path: Path) -> None:
    """The groups' findings are one sentence, since all groups have the same."""
    plan, store = stored(tmp_path, {(1e-3, 0.25): [0.3]})
    text = page.page(suite_view(plan, [store], paper=False))
    data = re.search(r'<script type="application/json" id="model">(.*?)</script>', text, re.S)
    assert data is not None
    findings = json.loads(data[1])["views"][0]["findings"]
    assert findings == ["Selection error is not ranked: it chooses weights, and judges none."]


def test_an_unknown_group_is_refused(tmp_path: Path) -> None:
    """A misspelt setting is named, with the one that was meant."""
    one = "\n".join(line for line in SUITE.splitlines() if "3e-3" not in line)
    (tmp_path / "trials.yaml").write_text(one.replace("group: learning_rate", "group: learning_rates"))
    with pytest.raises(UsageError, match=r"no row has an argument 'learning_rates'.*learning_rate"):
        loading.load(tmp_path / "trials.yaml", [])
