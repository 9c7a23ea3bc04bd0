"""Tables of BD-rates: from records to percent, with what they rest on, and why a cell is empty."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import vqbench as library
from tests.support.tiny_suite import vqbench
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.reporting.derived.bd_rate import bd_rate, front
from vqbench.reporting.derived.bd_tables import bd_tables
from vqbench.reporting.tables.table import Cell, Row
from vqbench.store.record import Failure, Record, Value
from vqbench.store.results import ResultStore

SUITE = """
name: rates
train: {clean: {epochs: 1, batch_size: 64}}
measure: [clean]
datasets: [fashion_mnist_5k]
codebook: {num_codes: [64, 256, 1024], dim: 8}
quantizers:
  - {identity: {}, label: bound}
  - {vq: {}, label: base}
  - {vq_ema: {}, label: cheap}
  - {cvq: {}, label: far}
  - {hvq: {}, label: flat}
  - {simvq: {}, label: none}
  - {ibq: {}, label: broken}
seeds: [1, 2]
metrics: [l1, psnr, usage, entropy, bits]
table: {group: num_codes}
"""
BASE = {64: (100.0, 17.0), 256: (200.0, 19.0), 1024: (300.0, 20.0)}  # K -> entropy, PSNR
CURVES = {
    "vq": BASE,
    "vq_ema": {codes: (0.75 * rate, psnr) for codes, (rate, psnr) in BASE.items()},
    "cvq": {codes: (rate, psnr + 9) for codes, (rate, psnr) in BASE.items()},
    "hvq": {64: (100.0, 18.0), 256: (200.0, 17.5), 1024: (300.0, 17.0)},
}


def stored(folder: Path, lacking: tuple[tuple[str, int, int], ...] = ()) -> tuple[Plan, ResultStore, Path]:
    """A suite and a store with records of the curves, but for those ``lacking``, and a failed row."""
    suite = folder / "rates.yaml"
    suite.write_text(SUITE)
    plan, store = loading.load(suite, []), ResultStore(folder / "runs")
    provenance = {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}, "measured": []}
    for entry in plan.entries:
        name, codes = entry.run.quantizer.name, int(str(entry.group))
        if name == "ibq":
            store.fail(entry.run, Failure("the loss became nan", []))
        if (name, codes, entry.seed) in lacking or name not in CURVES:
            continue
        rate, psnr = CURVES[name][codes]
        given = {"l1": 2 - psnr / 20, "psnr": psnr, "usage": 50.0, "entropy": rate, "bits": 441.0}
        values = {metric: Value(value, plan.metrics[metric].version, 1, 1000) for metric, value in given.items()}
        store.write(Record(entry.run, {"clean": values}, provenance))
    return plan, store, suite


def rows_of(plan: Plan, store: ResultStore, **changes: Any) -> dict[str, Row]:
    (table,) = bd_tables(plan, [store], "entropy", **changes)
    assert [column.key for column in table.columns] == ["l1_bd_rate", "psnr_bd_rate"]
    return {row.label: row for block in table.blocks for row in block.rows}


def test_rows_are_compared_at_equal_quality(tmp_path: Path) -> None:
    """A row at 75 % of the bits has -25 %, by PSNR and by an error alike, for each seed; the reference has 0; rows
    without codes are no rows."""
    plan, store, _ = stored(tmp_path)
    rows = rows_of(plan, store)
    assert list(rows) == ["base", "cheap", "far", "flat", "none", "broken"]
    for cell in rows["cheap"].cells:
        assert cell.values == pytest.approx([-25, -25], rel=1e-9)
        assert cell.seeds == [1, 2]
    assert [cell.values for cell in rows["base"].cells] == [[0, 0], [0, 0]]
    assert rows["cheap"].footnotes == ["l1 1.0000 to 1.1500 (100 %); PSNR 17.00 to 20.00 (100 %)"]
    other = rows_of(plan, store, reference="cheap")
    assert other["base"].cells[1].values == pytest.approx([100 / 3, 100 / 3], rel=1e-9)


def test_an_empty_cell_says_why(tmp_path: Path) -> None:
    """Curves without common values, a row whose smallest codebook beats the others, rows not run and failed rows have
    no value, and each says why."""
    plan, store, _ = stored(tmp_path)
    rows = rows_of(plan, store)
    empty = Cell(status="none")
    assert rows["far"].cells == [empty, empty]
    assert rows["far"].footnotes == ["l1, PSNR: no value that both curves reach"]
    assert rows["flat"].cells == [empty, empty]
    assert rows["flat"].footnotes == ["l1, PSNR: no curve, since one run of this row beats its others"]
    assert [cell.status for cell in rows["none"].cells] == ["missing", "missing"]
    assert [cell.reason for cell in rows["broken"].cells] == ["the loss became nan"] * 2
    beaten = rows_of(plan, store, reference="flat")
    assert beaten["base"].footnotes == ["l1, PSNR: no curve, since one run of flat beats its others"]


def test_missing_runs_are_counted(tmp_path: Path) -> None:
    """A row with a run missing is compared on the others, where curves exist, and says how many runs it has."""
    plan, store, _ = stored(tmp_path, (("vq_ema", 1024, 1), ("vq_ema", 1024, 2)))
    row = rows_of(plan, store)["cheap"]
    expected = bd_rate(front(*zip(*BASE.values(), strict=True)), front([75, 150], [17, 19])).percent
    assert row.cells[1].values == pytest.approx([expected, expected], rel=1e-9)
    assert row.footnotes[0].startswith("4 of 6 runs; l1 1.0500 to 1.1500 (67 %); PSNR 17.00 to 19.00 (67 %)")
    lacking = tuple(("vq", codes, seed) for codes in BASE for seed in (1, 2))
    (tmp_path / "other").mkdir()
    plan, store, _ = stored(tmp_path / "other", lacking)
    assert rows_of(plan, store)["cheap"].footnotes == ["l1, PSNR: base has no curve yet"]


def test_what_a_suite_cannot_answer_is_refused(tmp_path: Path) -> None:
    """A metric that is no rate, a row that does not exist, and a suite of points instead of curves."""
    plan, store, _ = stored(tmp_path)
    with pytest.raises(UsageError, match="'psnr' is no rate among this suite's metrics; known: entropy, bits"):
        bd_tables(plan, [store], "psnr")
    with pytest.raises(UsageError, match="'bound' is no row of this suite"):
        bd_tables(plan, [store], "entropy", "bound")
    with pytest.raises(UsageError, match="this suite's rows are points"):
        bd_tables(loading.load("quick", []), [store], "bits")


def test_the_command_and_the_library_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``table --bd-rate`` in JSON and ``vqbench.table`` have the same numbers; text names the method and the overlap;
    options that exclude each other are refused."""
    _, _, suite = stored(tmp_path)
    store = tmp_path / "runs"
    words = ("table", suite, "--store", store, "--results", tmp_path / "none", "--bd-rate", "entropy")
    assert vqbench(*words, "--json") == 0
    (table,) = json.loads(capsys.readouterr().out)
    (cell,) = [each for each in table["cells"] if (each["row"], each["metric"]) == ("cheap", "psnr_bd_rate")]
    assert cell["values"] == pytest.approx([-25, -25])
    assert cell["notes"] == ["l1 1.0000 to 1.1500 (100 %); PSNR 17.00 to 20.00 (100 %)"]
    frame = library.table(suite, store=store, results=tmp_path / "none", bd_rate="entropy")
    assert frame.loc[("fashion_mnist_5k", "cheap"), "psnr_bd_rate"] == pytest.approx(-25)
    assert vqbench(*words, "--notes") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "piecewise cubic Hermite" in shown
    assert "PSNR 17.00 to 20.00 (100 %)" in shown
    assert vqbench(*words, "--paper") == 2
    assert vqbench("table", suite, "--reference", "base") == 2
