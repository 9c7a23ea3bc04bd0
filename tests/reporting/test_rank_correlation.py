"""Rank correlations: Kendall's τ against scipy's, its interval, and the table made of a suite's columns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

import vqbench as library
from tests.support.tiny_suite import vqbench
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.plan import Plan
from vqbench.reporting.derived.correlation_tables import correlation_tables
from vqbench.reporting.derived.rank_correlation import rank_correlation
from vqbench.reporting.tables.table import Row
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

METHODS = ["vq", "vq_ema", "cvq", "hvq", "sqvae", "gumbel"]  # from the best psnr to the worst
L1 = [0.01, 0.02, 0.03, 0.05, 0.04, 0.06]  # one pair of 15 in the other order
USAGE = [60.0, 50.0, 40.0, 30.0, 20.0, 10.0]
PROVENANCE = {"seconds": 10.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}, "measured": []}
SUITE = f"""
name: predicted
train: {{clean: {{epochs: 1, batch_size: 64}}}}
measure: [clean]
datasets: [fashion_mnist_5k]
seeds: [1, 2]
codebook: {{num_codes: 64, dim: 8}}
quantizers: [{{identity: {{}}, label: bound}}, {", ".join(METHODS)}]
metrics: [l1, psnr, usage, bits]
table: {{columns: [l1, psnr, usage, bits, seconds]}}
"""


def test_tau_is_scipys() -> None:
    """With and without ties, τ_b of random columns equals scipy's."""
    draw = np.random.default_rng(0)
    for levels in (3, 10, 10**9):
        for rows in (5, 8, 43):
            a, b = draw.integers(0, levels, (2, rows))
            found = rank_correlation(a, b)
            assert found is not None
            assert found.tau == pytest.approx(kendalltau(a, b, variant="b").statistic, abs=1e-12)
            assert found.rows == rows


def test_the_interval_is_that_of_drawn_rows() -> None:
    """Its ends are quantiles of scipy's τ_b over rows drawn with replacement, without pairs of a row with itself.

    Equal columns have 1 in every draw; unrelated ones have 0 within.
    """
    draw = np.random.default_rng(1)
    a = draw.normal(size=30)
    b = a + draw.normal(size=30)
    found = rank_correlation(a, b, resamples=4000)
    assert found is not None
    taus = []
    for _ in range(4000):
        rows = draw.integers(0, 30, 30)
        taus.append(kendalltau(a[rows], b[rows], variant="b").statistic)
    assert [found.low, found.high] == pytest.approx(np.quantile(taus, [0.025, 0.975]), abs=0.03)
    assert rank_correlation(a, a).__dict__ == {"tau": 1, "low": 1, "high": 1, "rows": 30}
    unrelated = rank_correlation(a, draw.normal(size=30))
    assert unrelated is not None
    assert unrelated.low < 0 < unrelated.high


def test_what_has_no_order_is_refused() -> None:
    """Equal values give none; four rows, values that are not finite, and other lengths are wrong usage."""
    assert rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]) is None
    for a, b in (([1, 2, 3, 4], [1, 2, 3, 4]), ([1, 2, 3, 4, np.nan], [1, 2, 3, 4, 5]), ([1, 2], [1, 2, 3])):
        with pytest.raises(UsageError, match="a rank correlation needs"):
            rank_correlation(a, b)


def stored(folder: Path, images: int = 1000, methods: int = len(METHODS)) -> tuple[Plan, ResultStore, Path]:
    """The suite, with two seeds whose means have the orders above, and a bound that would spoil them."""
    suite = folder / "predicted.yaml"
    suite.write_text(SUITE)
    plan, store = loading.load(suite, []), ResultStore(folder / "runs")
    for entry in plan.entries:
        if entry.label in METHODS[methods:]:
            continue
        place = len(METHODS) if entry.upper_bound else METHODS.index(entry.label)
        off = 5 if entry.seed == 1 else -5  # one seed alone would give another order
        given = {"psnr": 20 - place + off * (place == 2), "l1": [*L1, 1.0][place], "bits": 100.0}
        given |= {} if entry.upper_bound else {"usage": USAGE[place]}
        values = {metric: Value(value, plan.metrics[metric].version, 1, images) for metric, value in given.items()}
        store.write(Record(entry.run, {"clean": values}, PROVENANCE))
    return plan, store, suite


def rows_of(plan: Plan, store: ResultStore, metric: str) -> dict[str, Row]:
    [table] = correlation_tables(plan, [store], metric)
    [block] = table.blocks
    return {row.label: row for row in block.rows}


def test_columns_are_compared_over_methods(tmp_path: Path) -> None:
    """Means over seeds count, better with better; the upper bound is no method; a rate of the budget has no value."""
    plan, store, _ = stored(tmp_path)
    rows = rows_of(plan, store, "psnr")
    assert list(rows) == ["l1", "Usage", "Bits", "Seconds"]
    assert [cell.mean for cell in rows["l1"].cells][::3] == pytest.approx([13 / 15, 6])
    assert [cell.mean for cell in rows["Usage"].cells] == [1, 1, 1, 6]
    assert {cell.status for cell in rows["Bits"].cells} == {"none"}
    assert rows["Bits"].footnotes == ["not ranked: Bits is part of the budget"]
    assert rows["Seconds"].footnotes == ["all methods have one value"]
    turned = rows_of(plan, store, "l1")
    assert turned["PSNR"].cells[0].mean == pytest.approx(13 / 15)


def test_too_little_says_so(tmp_path: Path) -> None:
    """Four methods have no correlation, and say that five are needed; too few images rank nothing."""
    plan, store, _ = stored(tmp_path, methods=4)
    assert rows_of(plan, store, "psnr")["l1"].footnotes == ["4 methods have both values, and 5 are needed"]
    with pytest.raises(UsageError, match="'seconds' is no column with a direction"):
        correlation_tables(plan, [store], "seconds")
    few = loading.load(tmp_path / "predicted.yaml", [], test_images=20)
    with pytest.raises(UsageError, match="PSNR ranks no row of this table: "):
        correlation_tables(few, [store], "psnr")


def test_the_command_and_the_library_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``table --rank-correlation`` in JSON and ``vqbench.table`` have the same numbers; two tables at once are
    refused."""
    _, _, suite = stored(tmp_path)
    store = tmp_path / "runs"
    words = ("table", suite, "--store", store, "--results", tmp_path / "none", "--rank-correlation", "psnr")
    assert vqbench(*words, "--json") == 0
    (table,) = json.loads(capsys.readouterr().out)
    (cell,) = [each for each in table["cells"] if (each["row"], each["metric"]) == ("l1", "tau")]
    frame = library.table(suite, store=store, results=tmp_path / "none", rank_correlation="psnr")
    assert frame.loc[("fashion_mnist_5k", "l1"), "tau"] == pytest.approx(13 / 15)
    assert cell["values"] == pytest.approx([13 / 15])
    assert vqbench(*words) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "95 % interval by a bootstrap over methods" in shown
    assert "per cell" not in shown, "the values are of both seeds together"
    assert "Trained under clean (1 epoch, batch 64" in shown, "a suite without a description loses no line of its own"
    assert vqbench(*words, "--paper") == 2
    assert vqbench(*words, "--bd-rate", "bits") == 2
    with pytest.raises(UsageError, match="different tables"):
        library.table(suite, store=store, bd_rate="bits", rank_correlation="psnr")
