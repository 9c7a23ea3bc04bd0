"""Which rows are ranked together: budgets, machines, image counts and codebook sizes, in every format."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.support.tiny_suite import vqbench
from vqbench.execution import suite_runner
from vqbench.execution.executors.executor import Summary
from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.planning.plan import Plan, PlannedRun
from vqbench.reporting.column_tests import judge_columns
from vqbench.reporting.html import page
from vqbench.reporting.html.suite_view import suite_view
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.formats.notes import LINES, WIDTH
from vqbench.reporting.tables.formats.plain import plain
from vqbench.reporting.tables.ranking_lines import ranking_lines
from vqbench.reporting.tables.render import render
from vqbench.reporting.tables.stored_runs import StoredRuns
from vqbench.reporting.tables.table import CellPosition, Table
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore
from vqbench.system.provenance import Origin, origins_of, same_origin

SUITE = """
name: marks
train: {clean: {epochs: 2, batch_size: 64}}
measure: [clean]
datasets: [fashion_mnist_5k]
codebook: {num_codes: 64, dim: 8}
quantizers:
  - identity
  - {vq: {}, label: a}
  - {vq: {beta: 0.5}, label: b}
  - {vq: {beta: 0.75}, label: c}
  - {vq: {beta: 1.0}, label: d}
  - {residual: {}, label: e}
seeds: [1]
metrics: [psnr, usage, perplexity]
table: {columns: [psnr, usage, perplexity, state]}
"""
OURS = {"device": "AMD EPYC", "cpu": "AMD EPYC", "instructions": "AVX2", "threads": 2}
THEIRS = {**OURS, "device": "Intel Xeon", "cpu": "Intel Xeon"}
Change = Callable[[PlannedRun], Mapping[str, Any]]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marks") / "marks.yaml"
    path.write_text(SUITE)
    return path


@pytest.fixture(scope="module")
def plan(suite: Path) -> Plan:
    return loading.load(suite, [])


def fill(plan: Plan, store: ResultStore, changed: Change = lambda entry: {}, better: float = 0.0) -> None:
    """A record of every run, e the best by far; ``changed`` returns the changes of its provenance."""
    for entry in plan.entries:
        coded = not entry.upper_bound
        codes = {"bits": 441.0, "codes": 8 if entry.label == "e" else 64} if coded else {}
        provenance = {"seconds": 1.0, "device": "AMD EPYC", "threads": 2, "versions": {"torch": "2"}, "origins": [OURS]}
        provenance |= {"date": "2026-01-31T12:00:00Z", "commit": None, "measured": []}
        provenance |= {"parameters": 1000, "state": 1000, **codes, **changed(entry)}
        psnr = 20.0 + entry.row + better
        values = {"psnr": psnr, "usage": 10.0 * entry.row if coded else None, "perplexity": 5.0 + entry.row}
        stored = {name: Value(value if coded or name == "psnr" else None, 1, 1, 1000) for name, value in values.items()}
        store.write(Record(entry.run, {"clean": stored}, provenance))
        store.write_images(entry.run, {"clean/psnr": psnr + np.linspace(-1, 1, 1000)})


def table(plan: Plan, *stores: ResultStore) -> Table:
    [only] = assemble.tables(plan, stores)
    return only


def ranked(shown: Table, metric: str = "psnr") -> dict[str, str]:
    return {place.row.label: place.rank for place in shown.places() if place.rank and place.column.key == metric}


def marks(shown: Table) -> dict[str, list[str]]:
    """Of each row that has any, those of its PSNR."""
    places = [place for place in shown.places() if place.column.key == "psnr"]
    return {place.row.label: list(place.cell.marks) for place in places if place.cell.marks}


# Budgets --------------------------------------------------------------------------------------------------------------


def test_a_row_of_more_bits_is_marked_and_not_ranked(plan: Plan, tmp_path: Path) -> None:
    """1,764 bits beside 441 are another budget, 455 are not; the best of the others is best."""
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"bits": {"e": 1764.0, "d": 455.0}.get(entry.label, 441.0)})
    shown = table(plan, store)
    assert marks(shown) == {"e": ["B"]}
    assert ranked(shown) == {"d": "best", "c": "second"}
    assert "Other budget: e (1,764 bits per image, not 441)." in shown.footnotes


def test_bits_of_records_without_a_note_are_those_measured(plan: Plan, tmp_path: Path) -> None:
    """An older record counts by its metric; without either, bits are not compared."""
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"bits": None})
    [e] = [entry.run for entry in plan.entries if entry.label == "e"]
    assert marks(table(plan, store)) == {}
    for entry in plan.entries[1:]:
        record = store.read(entry.run)
        assert record
        record.values["clean"]["bits"] = Value(1764.0 if entry.run == e else 441.0, 1, 1, 1000)
        store.write(record)
    assert marks(table(plan, store)) == {"e": ["B"]}


def test_other_updates_are_another_budget(suite: Path, tmp_path: Path) -> None:
    """A row that is trained for longer, or in other batches, is marked whatever its bits."""
    longer = loading.load(suite, [], [Override("quantizers.e.train", {"clean": {"epochs": 3, "batch_size": 64}})])
    fill(longer, store := ResultStore(tmp_path))
    shown = table(longer, store)
    assert marks(shown) == {"e": ["B"]}
    assert ranked(shown) == {"d": "best", "c": "second"}


def test_every_format_marks_the_same(plan: Plan, tmp_path: Path) -> None:
    """Text, Markdown, LaTeX, CSV, JSON and page have one letter for a row outside of the budget, and say what it is."""
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"bits": 1764.0 if entry.label == "e" else 441.0})
    shown = table(plan, store)
    legend = "not ranked: B other budget."
    text, markdown, latex = (render(shown, form) for form in ("text", "markdown", "latex"))
    assert "\ne [B] " in text
    assert "| e<sup>B</sup> " in markdown
    assert "\ne\\textsuperscript{B} & " in latex
    assert all(f"{legend}" in rendered for rendered in (text, markdown, latex))
    rows = [row for row in csv.DictReader(io.StringIO(render(shown, "csv"))) if row["metric"] == "psnr"]
    assert {row["row"]: (row["marks"], row["rank"]) for row in rows if row["row"] in "de"} == {
        "d": ("", "best"),
        "e": ("B", ""),
    }
    cells = [cell for cell in plain(shown)["cells"] if cell["metric"] == "psnr"]
    assert [(cell["marks"], cell["unranked"], cell["rank"]) for cell in cells[-2:]] == [
        ([], "", "best"),
        (["B"], "other budget", None),
    ]
    written = page.page(suite_view(plan, [store], paper=False))
    assert re.search(r'<span class="name">e</span><sup[^>]*>B</sup>', written)
    assert "Not ranked: B other budget." in written


def test_a_larger_state_is_marked_and_ranked(plan: Plan, tmp_path: Path) -> None:
    """Buffers count; a quarter above the median is the limit; and it is a column."""
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"state": {"e": 1251, "d": 1250}.get(entry.label, 1000)})
    shown = table(plan, store)
    assert marks(shown) == {"e": ["S"]}
    assert ranked(shown) == {"e": "best", "d": "second"}
    states = [place.cell.shown(place.column) for place in shown.places() if place.column.key == "state"]
    assert states == ["1000", "1000", "1000", "1000", "1250", "1251"]


def test_codes_that_depend_on_the_batch_are_marked_and_ranked(tmp_path: Path) -> None:
    """A row of a method that declares it has D in text, Markdown, LaTeX, CSV, JSON and page, and a note names it."""
    (tmp_path / "marks.yaml").write_text(SUITE.replace("{residual: {}, label: e}", "{optvq: {}, label: e}"))
    plan = loading.load(tmp_path / "marks.yaml", [])
    assert [entry.label for entry in plan.entries if entry.batch_dependent] == ["e"]
    fill(plan, store := ResultStore(tmp_path / "store"))
    shown = table(plan, store)
    assert marks(shown) == {"e": ["D"]}
    assert ranked(shown) == {"e": "best", "d": "second"}
    text, markdown, latex = (render(shown, form) for form in ("text", "markdown", "latex"))
    assert "\ne [D] " in text
    assert "| e<sup>D</sup> " in markdown
    assert "\ne\\textsuperscript{D} & " in latex
    assert all("; D codes depend on the batch." in rendered for rendered in (text, markdown, latex))
    assert "Codes depend on the other images of the batch, in evaluation too: e." in shown.footnotes
    rows = [row for row in csv.DictReader(io.StringIO(render(shown, "csv"))) if row["metric"] == "psnr"]
    assert {row["row"]: row["marks"] for row in rows if row["row"] in "de"} == {"d": "", "e": "D"}
    assert plain(shown)["marks"]["D"] == "codes depend on the batch"
    assert [cell["marks"] for cell in plain(shown)["cells"] if cell["metric"] == "psnr"][-2:] == [[], ["D"]]
    written = page.page(suite_view(plan, [store], paper=False))
    assert re.search(r'<span class="name">e</span><sup[^>]*codes depend on the batch[^>]*>D</sup>', written)


def test_a_state_that_is_not_known_is_not_marked(plan: Plan, tmp_path: Path) -> None:
    """Records from before say how many parameters they have, and nothing of buffers: no mark, and no number."""
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"state": None, "parameters": 9000 if entry.label == "e" else 1000})
    shown = table(plan, store)
    assert marks(shown) == {}
    assert {place.cell.status for place in shown.places() if place.column.key == "state"} == {"none"}


def test_perplexities_of_other_codebooks_are_not_ranked(plan: Plan, tmp_path: Path) -> None:
    """That of 8 codes does not compete with those of 64, in this column alone."""
    store = ResultStore(tmp_path)
    fill(plan, store)
    shown = table(plan, store)
    assert ranked(shown, "perplexity") == {"d": "best", "c": "second"}
    assert ranked(shown, "usage") == {"e": "best", "d": "second"}
    assert "Perplexity is not ranked for other codebook sizes: e (8 codes)." in shown.footnotes


# Machines -------------------------------------------------------------------------------------------------------------


def test_one_seed_of_another_machine_is_not_ranked(plan: Plan, tmp_path: Path) -> None:
    """A value of one seed on another machine is shown and marked; the largest group of one origin is ranked."""
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"origins": [THEIRS if entry.label in "ae" else OURS]})
    shown = table(plan, store)
    assert marks(shown) == {"a": ["M"], "e": ["M"]}
    assert ranked(shown) == {"d": "best", "c": "second"}
    assert "not ranked: M other machine." in render(shown)


def test_a_run_resumed_elsewhere_has_both_origins(plan: Plan, tmp_path: Path) -> None:
    """A run that two machines trained is of neither."""
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"origins": [OURS, THEIRS] if entry.label == "e" else [OURS]})
    assert marks(table(plan, store)) == {"e": ["M"]}


def test_of_two_equal_groups_none_is_ranked(suite: Path, tmp_path: Path) -> None:
    """With two rows each from two machines, neither machine is the reference."""
    four = loading.load(suite, [])
    four = replace(four, entries=[entry for entry in four.entries if entry.label != "e"])
    store = ResultStore(tmp_path)
    fill(four, store, lambda entry: {"origins": [THEIRS if entry.label in "ab" else OURS]})
    shown = table(four, store)
    assert ranked(shown) == {}
    assert [*marks(shown)] == ["identity", "a", "b", "c", "d"]


def test_several_seeds_are_ranked_and_marked(suite: Path, tmp_path: Path) -> None:
    """With two seeds a row of another machine competes, but no test pairs it with the others."""
    two = loading.load(suite, [], [Override("seeds", [1, 2])])
    store = ResultStore(tmp_path)
    fill(two, store, lambda entry: {"origins": [THEIRS if entry.label == "e" else OURS]})
    shown = table(two, store)
    assert marks(shown) == {"e": ["M"]}
    assert ranked(shown) == {"e": "best", "d": "second"}
    column_test = judge_columns(shown, lambda key, name: None)[0, 0]
    assert not column_test.comparisons
    assert dict(column_test.not_compared) == dict.fromkeys("abcd", "other machine")
    assert "; M other machine;" in render(shown)


def test_machines_of_older_records_are_distinguished_by_what_they_have(plan: Plan, tmp_path: Path) -> None:
    """Without a list, device and threads are the origin, of which nothing is guessed."""
    old = {"device": "AMD EPYC", "threads": 2, "versions": {}}
    assert origins_of(old) == (Origin("AMD EPYC", threads=2),)
    assert str(origins_of(old)[0]) == "AMD EPYC (2 threads)"
    assert not same_origin(origins_of(old), origins_of({"origins": [OURS]}))
    assert str(origins_of({"origins": [OURS]})[0]) == "AMD EPYC (AVX2, 2 threads)"
    store = ResultStore(tmp_path)
    fill(plan, store, lambda entry: {"origins": [], "threads": 4 if entry.label == "e" else 2})
    assert marks(table(plan, store)) == {"e": ["M"]}


def test_the_printed_order_pairs_within_one_origin(tmp_path: Path) -> None:
    """A row that another machine trained is not compared with the paper's best, and the line says why."""
    b1 = loading.load("small_datasets", [])
    store = ResultStore(tmp_path)
    for entry in b1.entries:
        provenance = {"seconds": 1.0, "origins": [THEIRS if entry.label == "SQ-VAE" else OURS]}
        value = {"l1": Value(1.0 - 0.1 * entry.row, 1, 1, 9)}
        store.write(Record(entry.run, {"official": value}, provenance))
    [line] = [line for line in ranking_lines(StoredRuns(b1, [store]), "official") if line.startswith("MNIST, l1")]
    assert line.endswith("; trained on another machine: SQ-VAE.")
    assert "SQ-VAE" not in line.split(";")[0]


def test_what_differs_between_machines_is_no_change(
    plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`diff` tests runs of one origin in both states alone."""
    fill(plan, ResultStore(tmp_path / "a"))
    fill(plan, ResultStore(tmp_path / "b"), lambda entry: {"origins": [THEIRS]}, better=3.0)
    fill(plan, ResultStore(tmp_path / "c"), better=3.0)
    assert vqbench("diff", tmp_path / "a", tmp_path / "b") == 0
    assert capsys.readouterr().out.count("differs; trained on other machines: no claim") == 6
    assert vqbench("diff", tmp_path / "a", tmp_path / "c") == 0
    assert "other machines" not in capsys.readouterr().out


def test_a_table_says_which_rows_come_from_which_store(plan: Plan, suite: Path, tmp_path: Path) -> None:
    """`run` shows its own store alone; `table` reads the published records after it and names their rows."""
    own, published = (ResultStore(tmp_path / name) for name in ("runs", "results"))
    fill(plan, published)
    fill(replace(plan, entries=plan.entries[:2]), own)
    both = table(plan, own, published)
    assert any("6 records of 6 (2 from runs/; 4 from results/: b, c, d, e)" in line for line in both.caption)
    assert {place.row.label: place.cell.sources for place in both.places() if place.column.key == "psnr"}["b"] == [
        "results"
    ]


def test_run_shows_its_own_store_alone(
    plan: Plan, suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Published records of other machines fill no cell of the table that `run` prints, though `table` shows them."""
    monkeypatch.chdir(tmp_path)
    executor = SimpleNamespace(execute=lambda jobs: Summary())
    monkeypatch.setattr(suite_runner, "create_executor", lambda *_, **__: executor)
    fill(plan, ResultStore("results"))
    fill(replace(plan, entries=plan.entries[:2]), ResultStore("runs"))
    assert vqbench("run", suite) == 0
    printed = capsys.readouterr().out
    assert printed.count("not run") == 4 * 4
    assert "results/" not in printed
    assert vqbench("table", suite) == 0
    assert "not run" not in capsys.readouterr().out


# Images ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "ranks"), [(99, False), (100, True)])
def test_below_a_hundred_images_nothing_is_ranked(suite: Path, tmp_path: Path, images: int, ranks: bool) -> None:
    """Every table states how many images it rests on, and from fewer than 100 of them no row is best."""
    few = loading.load(suite, [], test_images=images)
    fill(few, store := ResultStore(tmp_path))
    for entry in few.entries:
        record = store.read(entry.run)
        assert record
        store.write(replace(record, values={f"clean@{images}": record.values["clean"]}))
    shown = table(few, store)
    assert bool(ranked(shown)) is ranks
    text = render(shown)
    assert f"{images} test images; one seed per cell" in text
    assert ("PSNR, Usage, Perplexity are not ranked: they need at least 100 test images, here 99." in text) is not ranks


def test_an_infinite_mean_says_how_many_images_are_perfect(
    plan: Plan, suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PSNR is inf because of 3 of 1,000 images; JSON has a word for it."""
    store = ResultStore(tmp_path / "runs")
    fill(plan, store)
    record = store.read(plan.entries[1].run)
    assert record
    record.values["clean"]["psnr"].value = float("inf")
    store.write(record)
    each = np.full(1000, 21.0)
    each[:3] = np.inf
    store.write_images(record.run, {"clean/psnr": each})
    assert "[a] infinite: 3 of 1,000 images are perfect; mean of the others 21.00" in render(table(plan, store))
    words = ("--store", store.root, "--results", tmp_path / "none")
    assert vqbench("table", suite, "--json", *words) == 0
    cells = json.loads(capsys.readouterr().out)[0]["cells"]
    assert [cell["values"] for cell in cells if cell["row"] == "a" and cell["metric"] == "psnr"] == [["inf"]]


# Notes ----------------------------------------------------------------------------------------------------------------


def crowded(plan: Plan, store: ResultStore) -> Table:
    """A table with all kinds of marks, a failure and a long footnote."""
    own = {
        "b": {"bits": 1764.0},
        "c": {"origins": [THEIRS]},
        "d": {"state": 10_000_000},
    }
    fill(plan, store, lambda entry: own.get(entry.label, {}))
    shown = table(plan, store)
    return replace(shown, footnotes=[*shown.footnotes, "a note on the data " * 20])


@pytest.mark.parametrize("form", ["text", "markdown"])
def test_five_lines_of_notes_and_the_rest_on_demand(plan: Plan, tmp_path: Path, form: str) -> None:
    """A table shows at most five short lines of notes, the marks in the first; --notes shows all."""
    shown = crowded(plan, ResultStore(tmp_path))
    below = render(shown, form).rstrip().split("\n\n")[-1].splitlines()
    assert len(below) == LINES
    assert all(len(line) <= WIDTH + 2 for line in below[1:])
    assert len(below[0]) <= WIDTH + 8
    assert "not ranked: B other budget, M other machine; S larger state." in below[0]
    assert "vqbench table --notes" in below[-1]
    everything = " ".join(render(shown, form, all_notes=True).split())
    assert "Equal budget: the same updates and images seen, bits per image within 5 %" in everything
    assert ("a note on the data " * 20).strip() in everything
    assert "c (Intel Xeon (AVX2, 2 threads))" in everything


def test_the_option_shows_all_notes(
    suite: Path, plan: Plan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`vqbench table --notes` leaves nothing out."""
    store = ResultStore(tmp_path / "runs")
    crowded(plan, store)
    words = ("table", suite, "--store", store.root, "--results", tmp_path / "none")
    assert vqbench(*words) == 0
    assert "Equal budget" not in capsys.readouterr().out
    assert vqbench(*words, "--notes") == 0
    assert "Equal budget" in capsys.readouterr().out


def test_a_mark_of_some_cells_is_shown_beside_these(plan: Plan, tmp_path: Path) -> None:
    """If only some values of a row are marked, the letter is beside these."""
    fill(plan, store := ResultStore(tmp_path))
    shown = table(plan, store)
    block = shown.blocks[0]
    row = block.rows[1]
    cells = [replace(row.cells[0], marks=("M",)), *row.cells[1:]]
    changed = replace(shown, blocks=[replace(block, rows=[replace(row, cells=cells), *block.rows[2:]])])
    assert "\na  " in render(changed)
    assert "21.00 [M]" in render(changed)
    assert isinstance(next(changed.places()), CellPosition)
