"""Differences between rows: their values, intervals and p-values, and what is said where there are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import ttest_rel

import vqbench as library
from tests.support.tiny_suite import vqbench
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.reporting import statistics
from vqbench.reporting.derived.difference_tables import difference_tables
from vqbench.reporting.tables.table import Row, Table
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

METHODS = ["vq", "vq_ema", "cvq"]
IMAGES = 1000
PROVENANCE = {"seconds": 10.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}, "measured": []}
SUITE = f"""
name: differing
train: {{clean: {{epochs: 1, batch_size: 64}}}}
measure: [clean]
datasets: [fashion_mnist_5k]
seeds: SEEDS
codebook: {{num_codes: 64, dim: 8}}
quantizers: [{{identity: {{}}, label: bound}}, {", ".join(METHODS)}]
metrics: [psnr, usage, bits]
table: {{columns: [psnr, usage, bits, seconds]}}
"""


def psnr_of(label: str, seed: int) -> NDArray[np.float32]:
    """Values per image (IMAGES,) of a method that is better by its place, and of a seed."""
    draw = np.random.default_rng([["bound", *METHODS].index(label), seed])
    shift = ["bound", *METHODS].index(label) + draw.normal(scale=0.2)
    return (20 + shift + draw.normal(size=IMAGES)).astype(np.float32)


def usage_of(label: str, seed: int) -> float:
    return 10.0 * METHODS.index(label) + 0.5 * seed * (label == "cvq") + seed


def stored(
    folder: Path, seeds: tuple[int, ...] = (1, 2, 3, 4), absent: tuple[str, int] | None = None
) -> tuple[Plan, ResultStore, Path]:
    """The suite with all its runs but ``absent``, values per image of psnr among them."""
    suite = folder / "differing.yaml"
    suite.write_text(SUITE.replace("SEEDS", str(list(seeds))))
    plan, store = loading.load(suite, []), ResultStore(folder / "runs")
    for entry in plan.entries:
        if (entry.label, entry.seed) == absent:
            continue
        images = psnr_of(entry.label, entry.seed)
        given = {"psnr": float(images.astype(np.float64).mean()), "bits": 100.0}
        given |= {} if entry.upper_bound else {"usage": usage_of(entry.label, entry.seed)}
        values = {metric: Value(value, plan.metrics[metric].version, 1, IMAGES) for metric, value in given.items()}
        store.write(Record(entry.run, {"clean": values}, PROVENANCE))
        store.write_images(entry.run, {"clean/psnr": images})
    return plan, store, suite


def rows_of(tables: list[Table]) -> dict[str, Row]:
    [table] = tables
    [block] = table.blocks
    return {row.label: row for row in block.rows}


def test_all_pairs_are_tested_by_image_and_seed(tmp_path: Path) -> None:
    """Each pair of rows has the difference and interval of the paired test over its seeds and images, and p-values that
    Holm's method corrects over the three pairs; the upper bound is in none."""
    plan, store, _ = stored(tmp_path)
    rows = rows_of(difference_tables(plan, [store], "psnr"))
    assert list(rows) == ["vq − vq_ema", "vq − cvq", "vq_ema − cvq"]
    tests = []
    for label, row in rows.items():
        a, b = (np.stack([psnr_of(name, seed) for seed in (1, 2, 3, 4)]) for name in label.split(" − "))
        tests.append(statistics.paired_test(a, b))
        shown = [cell.mean for cell in row.cells]
        assert shown[:3] == pytest.approx([tests[-1].difference, tests[-1].low, tests[-1].high])
        assert shown[0] < 0, "the first has the lower value"
        assert shown[4] == 4
    adjusted = statistics.holm([test.p_value for test in tests])
    assert [row.cells[3].mean for row in rows.values()] == pytest.approx(adjusted)
    assert adjusted != [test.p_value for test in tests]


def test_a_reference_is_compared_with_every_other_row(tmp_path: Path) -> None:
    """Differences are from the reference, and a metric without values per image is tested over seeds, as by a paired
    t-test."""
    plan, store, _ = stored(tmp_path)
    rows = rows_of(difference_tables(plan, [store], "usage", "vq"))
    assert list(rows) == ["vq_ema", "cvq"]
    values = {name: [usage_of(name, seed) for seed in (1, 2, 3, 4)] for name in METHODS}
    test = ttest_rel(values["cvq"], values["vq"])
    interval = test.confidence_interval()
    shown = [cell.mean for cell in rows["cvq"].cells]
    assert shown[:3] == pytest.approx([np.mean(values["cvq"]) - np.mean(values["vq"]), *interval])
    assert rows["vq_ema"].cells[0].mean == pytest.approx(10)
    assert shown[3] == pytest.approx(test.pvalue)  # the larger of two, of which the other is 0: not multiplied


def test_only_common_seeds_count(tmp_path: Path) -> None:
    """A run that is missing costs the pairs of its row one seed; its row without any run says so."""
    plan, store, _ = stored(tmp_path, absent=("vq", 2))
    rows = rows_of(difference_tables(plan, [store], "psnr"))
    assert [row.cells[4].mean for row in rows.values()] == [3, 3, 4]
    a, b = (np.stack([psnr_of(name, seed) for seed in (1, 3, 4)]) for name in ("vq", "vq_ema"))
    assert rows["vq − vq_ema"].cells[0].mean == pytest.approx(statistics.paired_test(a, b).difference)
    for entry in plan.entries:
        if entry.label == "vq" and entry.seed != 2:
            (store.folder(entry.run) / "record.json").unlink()
    rows = rows_of(difference_tables(plan, [ResultStore(store.root)], "psnr"))
    assert rows["vq − cvq"].footnotes == ["not compared: not run"]
    assert {cell.status for cell in rows["vq − cvq"].cells} == {"none"}


def test_one_seed_has_no_p_value(tmp_path: Path) -> None:
    """The difference of two trained models is shown, without an interval or p-value of their methods."""
    plan, store, _ = stored(tmp_path, seeds=(3,))
    [table] = difference_tables(plan, [store], "psnr", "vq")
    row = table.blocks[0].rows[0]
    assert [cell.status for cell in row.cells] == ["ok", "none", "none", "none", "ok"]
    assert row.footnotes == ["one seed: two trained models are compared, not two methods"]
    assert not any("Holm" in line or "interval" in line for line in table.caption)


def test_no_p_value_is_shown_as_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What rounds to 0.0000 is shown as smaller than the last digit; a single comparison is said to need no
    correction."""
    _, _, suite = stored(tmp_path)
    words = ("table", suite, "--store", tmp_path / "runs", "--results", tmp_path / "none", "--differences", "usage")
    assert vqbench(*words, "--only", "vq", "--only", "vq_ema") == 0  # usage of every seed differs by 10
    out = capsys.readouterr().out
    assert "< 0.0001" in out
    assert "0.0000" not in out
    assert "One comparison: p needs no correction" in " ".join(out.split())


def test_what_has_no_direction_or_row_is_refused(tmp_path: Path) -> None:
    """Seconds have no direction, bits are the budget, an upper bound does not compete: one sentence each."""
    plan, store, _ = stored(tmp_path)
    for metric, reference, said in (
        ("seconds", None, "'seconds' is no column with a direction"),
        ("bits", None, "Bits ranks no row of this table"),
        ("psnr", "bound", "'bound' is no row of this table that competes"),
    ):
        with pytest.raises(UsageError, match=said):
            difference_tables(plan, [store], metric, reference)


def test_the_command_and_the_library_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``table --differences`` in JSON and ``vqbench.table`` have the same numbers, and no line speaks of cells of one
    seed; two tables at once are refused."""
    _, _, suite = stored(tmp_path)
    store, none = tmp_path / "runs", tmp_path / "none"
    words = ("table", suite, "--store", store, "--results", none, "--differences", "psnr", "--reference", "cvq")
    assert vqbench(*words, "--json") == 0
    (table,) = json.loads(capsys.readouterr().out)
    (cell,) = [each for each in table["cells"] if (each["row"], each["metric"]) == ("vq", "difference")]
    frame = library.table(suite, store=store, results=none, differences="psnr", reference="cvq")
    assert frame.loc[("fashion_mnist_5k", "vq"), "difference"] == pytest.approx(cell["values"][0])
    assert list(frame.columns) == ["difference", "low", "high", "p", "seeds"]
    assert vqbench(*words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Mean PSNR minus that of cvq; higher is better." in shown
    assert "over the 2 comparisons of this table" in shown
    assert "1,000 test images." in shown
    assert "per cell" not in shown
    for more in (("--paper",), ("--bd-rate", "bits"), ("--rank-correlation", "psnr")):
        assert vqbench(*words, *more) == 2
    assert vqbench(*words[:6], "--reference", "cvq") == 2
    assert "--reference belongs to --bd-rate or --differences" in capsys.readouterr().err
    with pytest.raises(UsageError, match="are different tables"):
        library.table(suite, store=store, differences="psnr", rank_correlation="psnr")
    with pytest.raises(UsageError, match="reference belongs to bd_rate or differences"):
        library.table(suite, store=store, reference="cvq")
