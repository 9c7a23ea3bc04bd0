"""Runs that differ from the paper's by the precision of training alone are compared with printed values."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_suite import vqbench
from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.planning.plan import Plan
from vqbench.reporting.html import page
from vqbench.reporting.html.suite_view import suite_view
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.render import render
from vqbench.reporting.tables.table import CellPosition
from vqbench.reporting.verdict import VerdictKind
from vqbench.spec import RunSpec
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

FOOTNOTE = "trained in {}; only rounding differs"
L1 = 0.0207  # as printed for VQ-VAE on MNIST


@pytest.fixture(scope="module")
def plan() -> Plan:
    return loading.load("small_datasets", [])


def in_precision(run: RunSpec, precision: str) -> RunSpec:
    """``run`` trained in another precision, as by ``--set 'train={official: {precision: ...}}'``."""
    return replace(run, recipe=replace(run.recipe, args={**run.recipe.args, "precision": precision}))


def write(store: ResultStore, run: RunSpec, l1: float = L1) -> None:
    provenance = {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}}
    store.write(Record(run, {"official": {"l1": Value(l1, 1, 1, 10)}}, provenance))
    store.write_images(run, {"official/l1": np.full(10, l1)})


def first_row(plan: Plan, *stores: ResultStore, paper: bool = True) -> dict[str, CellPosition]:
    """The cells of VQ-VAE on MNIST under ``official``, by metric."""
    table = assemble.tables(plan, stores, paper)[0]
    places = [place for place in table.places() if (place.row.label, place.dataset) == ("VQ-VAE", "mnist")]
    return {place.column.key: place for place in places}


@pytest.mark.parametrize("precision", ["bf16", "tf32"])
def test_a_missing_run_is_filled_by_one_of_another_precision(plan: Plan, tmp_path: Path, precision: str) -> None:
    """With --paper a cell without a float32 record shows that of bf16 or tf32, its verdict, and a footnote."""
    store = ResultStore(tmp_path)
    write(store, in_precision(plan.entries[0].run, precision))
    cell = first_row(plan, store)["l1"].cell
    assert (cell.values, cell.footnotes) == ([L1], [FOOTNOTE.format(precision)])
    assert cell.verdict is not None
    assert cell.verdict.outcome is VerdictKind.REPRODUCED
    assert first_row(plan, store, paper=False)["l1"].cell.status == "missing"


def test_a_float32_record_goes_before_all_others(plan: Plan, tmp_path: Path) -> None:
    """A float32 record in any store, even a later one, is shown, without a footnote."""
    first, second = ResultStore(tmp_path / "first"), ResultStore(tmp_path / "second")
    write(first, in_precision(plan.entries[0].run, "bf16"), 0.1)
    write(second, plan.entries[0].run)
    cell = first_row(plan, first, second)["l1"].cell
    assert (cell.values, cell.footnotes) == ([L1], [])


def test_every_cell_of_another_precision_has_the_footnote(plan: Plan, tmp_path: Path) -> None:
    """No format shows a value of another precision, ranked or not, without its footnote."""
    store = ResultStore(tmp_path)
    for entry in plan.entries[:3]:
        write(store, in_precision(entry.run, "bf16") if entry is plan.entries[0] else entry.run)
    table = assemble.tables(plan, [store], paper=True)[0]
    noted = [place.row.label for place in table.places() if place.cell.footnotes]
    assert noted == ["VQ-VAE"]
    for form in ("text", "markdown", "latex"):
        assert FOOTNOTE.format("bf16") in render(table, form, paper=True, all_notes=True)
    lines = [line for line in csv.DictReader(io.StringIO(render(table, "csv"))) if line["value"]]
    assert {line["row"]: FOOTNOTE.format("bf16") in line["notes"] for line in lines} == {
        entry.label: entry is plan.entries[0] for entry in plan.entries[:3]
    }


def test_seeds_of_another_precision_are_named(tmp_path: Path) -> None:
    """Of a mean over seeds, the footnote names those that were trained in another precision."""
    two = loading.load("small_datasets", [], [Override("seeds", [1, 2])])
    store = ResultStore(tmp_path)
    runs = {entry.seed: entry.run for entry in two.entries if (entry.row, entry.dataset) == (0, "mnist")}
    write(store, runs[1])
    write(store, in_precision(runs[2], "tf32"))
    assert first_row(two, store)["l1"].cell.footnotes == [f"seed 2: {FOOTNOTE.format('tf32')}"]


def test_the_printed_order_names_rows_of_another_precision(plan: Plan, tmp_path: Path) -> None:
    """A sentence on the printed order says of a row that it was trained in bf16."""
    store = ResultStore(tmp_path)
    for entry in plan.entries:
        if entry.dataset == "mnist":
            write(
                store,
                in_precision(entry.run, "bf16") if entry.label == "CVQ-VAE" else entry.run,
                0.03 - entry.row / 1e3,
            )
    footnotes = assemble.tables(plan, [store], paper=True)[0].footnotes
    [line] = [line for line in footnotes if line.startswith("MNIST, l1")]
    assert line.startswith("MNIST, l1: CVQ-VAE (trained in bf16) is ahead of SQ-VAE in 100.0 %")


def test_the_page_leads_to_the_run_of_the_other_precision(plan: Plan, tmp_path: Path) -> None:
    """The run that a cell links to is the one that was trained, whose arguments the page shows."""
    store = ResultStore(tmp_path)
    run = in_precision(plan.entries[0].run, "bf16")
    write(store, run)
    text = page.page(suite_view(plan, [store], paper=True))
    assert f'"runs":{{"{run.seed}":"{run.key}"}}' in text  # of the popover, which makes the link
    assert f'id="run-{run.key}"' in text
    assert "precision bf16" in text
    assert FOOTNOTE.format("bf16") in text


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ("{official: {precision: bf16}}", "REPRODUCED"),
        ("{official: {precision: tf32}}", "REPRODUCED"),
        ("{official: {precision: bf16, epochs: 5}}", "NOT COMPARABLE"),
        ("{official: {epochs: 5}}", "NOT COMPARABLE"),
    ],
)
def test_an_override_of_the_precision_alone_is_comparable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, verdict: str
) -> None:
    """Runs with another precision get verdicts and the footnote; another override beside it makes them incomparable."""
    changed = loading.load("small_datasets", [], [Override.parse(f"train={change}")])
    write(ResultStore(tmp_path), changed.entries[0].run)
    words = ("table", "small_datasets", "--paper", "--notes", "--set", f"train={change}", "--store", tmp_path)
    assert vqbench(*words, "--results", tmp_path / "none") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f": 1 {verdict}, 39 NOT RUN." in shown or f": 39 NOT RUN, 1 {verdict}." in shown
    assert ("only rounding differs" in shown) is ("precision" in change)
    assert ("with other epochs" in shown) is ("epochs" in change)
    assert "with other precision" not in shown


def test_a_reduced_suite_is_not_filled(tmp_path: Path) -> None:
    """A reduced training is not comparable in any precision, so no other record is looked up."""
    reduced = loading.load("small_datasets", [], reduced={"epochs": 1})
    store = ResultStore(tmp_path)
    write(store, in_precision(reduced.entries[0].run, "bf16"))
    assert first_row(reduced, store)["l1"].cell.status == "missing"
