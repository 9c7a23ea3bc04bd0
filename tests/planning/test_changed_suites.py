"""A suite changed on the command line is titled so, has no column without a metric, and has a limited size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vqbench.cli.app import run_words
from vqbench.errors import LONGEST, UsageError, counted, sentence, shortened
from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.planning.suite_files import load_suite
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

TEXT = """\
name: tiny
title: A title
description: A run is 330 updates of a small backbone.
train: {clean: {epochs: 6, batch_size: 64}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 8, dim: 4}
quantizers: [{vq: {}, label: one}, {vq_ema: {}, label: two}]
seeds: [1]
metrics: [l1, psnr, usage]
table: {columns: [l1, psnr, usage, seconds]}
"""


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and a cache folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.yaml").write_text(TEXT)


def table(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run_words(["table", "tiny.yaml", "--format", "markdown", *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "mark", "described"),
    [
        ((), "A title", True),
        (("--seeds", "2,3"), "A title", True),
        (("--only", "one"), "A title (1 of 2 rows)", True),
        (("--set", "measure=[official]"), "A title", True),
        (("--set", "quantizers=[{vq_ema: {}, label: two}]"), "A title (1 of 2 rows)", True),
        (("--epochs", "1"), "A title (REDUCED)", False),
        (("--test-images", "10"), "A title (REDUCED)", True),
        (("--set", "train.clean.epochs=1"), "tiny (CHANGED: train.clean.epochs=1)", False),
        (("--set", "train={clean: {epochs: 1}}"), "tiny (CHANGED: train={clean: {epochs: 1}})", False),
        (("--set", "quantizers.vq.beta=2"), "tiny (CHANGED: quantizers.vq.beta=2)", False),
        (("--set", "quantizers=[{vq: {beta: 2}, label: one}]"), "tiny (1 of 2 rows) (CHANGED: quantizers=", False),
        (("--set", "datasets=[mnist]"), "tiny (CHANGED: datasets=", False),
        (("--set", "backbone=conv", "--set", "title=Mine"), "Mine (CHANGED: backbone=conv)", False),
        (("--set", "backbone=conv", "--epochs", "2"), "tiny_reduced (REDUCED) (CHANGED: backbone=conv)", False),
    ],
)
def test_a_title_says_what_was_changed(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], mark: str, described: bool
) -> None:
    """Reduced and changed copies are titled so, and lengths of the original training are not repeated."""
    text = table(capsys, *words)
    assert text.startswith(f"### {mark}".replace("_", "\\_"))
    assert ("330 updates" in text) == described
    assert (" epoch," in text) == ("epochs=1" in mark or ("--epochs" in words and "1" in words) or "epochs: 1" in mark)


def test_columns_leave_with_their_metric(capsys: pytest.CaptureFixture[str]) -> None:
    """Fewer metrics need no fewer columns beside them: those without a metric drop out, and a line says which."""
    text = table(capsys, "--set", "metrics=[l1]")
    assert "PSNR" not in text
    assert "Columns left out, since their metric is not measured: psnr, usage." in text
    assert load_suite("tiny.yaml", [Override("metrics", ["psnr", "ssim"])]).table.columns == ["psnr", "seconds"]


@pytest.mark.parametrize("sets", [["metrics=[l1]", "table.columns=[psnr]"], ["table.columns=[pnsr]"], ["metrics=[]"]])
def test_requested_columns_are_checked(sets: list[str]) -> None:
    """A column named on the same command line must have its metric."""
    with pytest.raises(UsageError, match="metric"):
        load_suite("tiny.yaml", map(Override.parse, sets))


def on(*sets: Override) -> list[dict[str, dict[str, Any]]]:
    return [row.on for row in load_suite("small_datasets", sets).quantizers]


def test_arguments_leave_with_their_data_set() -> None:
    """Where an override leaves out data sets, so are the rows' arguments for them; those for the others stay."""
    whole = on()
    assert any("cifar10" in row for row in whole)
    only = [{name: args for name, args in row.items() if name == "mnist"} for row in whole]
    assert on(Override("datasets", ["mnist"])) == only
    assert on(Override("datasets", [{"mnist": {}}]), Override("quantizers.0.vq.beta", 1)) == only


@pytest.mark.parametrize("path", ["quantizers", "quantizers.0.on.cifar10", "quantizers.0.on.mnits"])
def test_requested_arguments_are_checked(path: str) -> None:
    """Arguments for a data set that the same command line leaves out, or misspells, are refused."""
    value: Any = [{"vq": {}, "on": {"cifar10": {"beta": 1}}}] if path == "quantizers" else {"beta": 1}
    with pytest.raises(UsageError, match="not a data set of this suite"):
        on(Override("datasets", ["mnist"]), Override(path, value))


def test_a_suite_of_millions_of_runs_is_refused_by_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than 200,000 runs are counted, not expanded, and the sentence has the counts."""
    grid = [{"cvq": {name: list(range(1, 18)) for name in ("beta", "decay", "temperature")}}]
    monkeypatch.setattr("vqbench.planning.suite.product", None)  # what expands grids
    with pytest.raises(UsageError, match=r"9,826,000 runs \(4,913 rows, 1 data set, 2,000 seeds\); .* at most 200,000"):
        load_suite("tiny.yaml", [Override("quantizers", grid), Override("seeds", list(range(2000)))])


def test_a_plan_reads_each_record_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """However many runs a plan has, no record is read twice, and suites that are kept are not resolved again."""
    store = ResultStore("runs")
    plan = loading.load("tiny.yaml", [store], [Override("seeds", [1, 2, 3])])
    for run in plan.runs():
        wanted = plan.wanted(run).items()
        values = {name: {metric: Value(0.5, *own, 1000) for metric, own in metrics.items()} for name, metrics in wanted}
        made = {
            "seconds": 1.0,
            "device": "CPU",
            "threads": 1,
            "versions": {"torch": "2"},
            "date": "2026-01-01T00:00:00",
        }
        store.write(Record(run, values, made))
    assert run_words(["plan", "tiny.yaml"]) == 0
    read: list[Path] = []
    real = ResultStore._read

    def counting(path: Path, *args: object) -> Record | None:
        read.append(path)
        return real(path, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(ResultStore, "_read", staticmethod(counting))
    monkeypatch.setattr(loading, "resolve", _only_tiny(loading.resolve))
    capsys.readouterr()
    assert run_words(["plan", "tiny.yaml", "--seeds", "1,2,3"]) == 0
    assert "6 cells, 6 distinct runs, 0 not done" in capsys.readouterr().out
    assert len(read) == len(set(read)) == 6


def _only_tiny(resolve):  # type: ignore[no-untyped-def]
    def resolving(spec, *args, **options):  # type: ignore[no-untyped-def]
        assert spec.name == "tiny", "a suite that was resolved before is resolved again"
        return resolve(spec, *args, **options)

    return resolving


@pytest.mark.parametrize(("number", "text"), [(0, "0 epochs"), (1, "1 epoch"), (2, "2 epochs"), (1000, "1,000 epochs")])
def test_one_thing_is_in_the_singular(number: int, text: str) -> None:
    """One epoch is no plural."""
    assert counted(number, "epoch") == text


@pytest.mark.parametrize("word", ["a" * 5000, "a/" * 3000, "b c " * 2000, "é" * 999])
def test_long_messages_are_cut_in_the_middle(word: str) -> None:
    """Beginning and end of a long message are shown; a short one stays as it is."""
    said = sentence(UsageError(f"start: {word}: end"))
    assert len(said) <= LONGEST
    assert said.startswith("start: ")
    assert said.endswith("end") or " " not in word
    assert sentence("short") == "short"
    assert len(shortened(word, 40)) == 40
