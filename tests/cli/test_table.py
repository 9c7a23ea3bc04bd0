"""Table: printed values, verdicts and files, from stored results alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.tiny_suite import vqbench
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore


@pytest.mark.parametrize("style", ["text", "markdown", "csv", "latex"])
def test_the_paper_s_values_stand_in_a_table_of_nothing(
    style: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything was run, ``table --paper`` prints the 40 printed values of B.1, each with NOT RUN."""
    from vqbench.reporting import paper

    words = ("table", "small_datasets", "--paper", "--format", style, "--store", tmp_path, "--results", tmp_path / "no")
    assert vqbench(*words) == 0
    shown = capsys.readouterr().out
    printed = [value.printed for value in paper.values("B.1")]
    assert len(printed) == 40
    assert [value for value in printed if value not in shown] == []
    assert "NOT RUN" in shown.upper()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("--set", "train=clean"), "trained under clean"),
        (("--set", "train={official: {epochs: 5}}"), "trained under official with other epochs"),
        (("--set", "codebook.num_codes=64"), "another backbone or codebook"),
        (("--epochs", "5"), "reduced training"),
        (("--test-images", "1000"), "measured under official@1000"),
    ],
)
def test_what_was_not_trained_and_measured_as_printed_gets_no_verdict(
    change: tuple[str, str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Values of a changed suite are NOT COMPARABLE with the printed ones, and the reason is given."""
    from vqbench.planning import loading
    from vqbench.planning.overrides import Override

    words = (*change, "--store", tmp_path, "--results", tmp_path / "none")
    assert vqbench("plan", "small_datasets", *words) == 0
    sizes = {"--epochs": {"epochs": 5}}.get(change[0], {})
    images = int(change[1]) if change[0] == "--test-images" else None
    overrides = [Override.parse(change[1])] if change[0] == "--set" else []
    plan = loading.load("small_datasets", [], overrides, (), sizes, images)
    store = ResultStore(tmp_path)
    provenance = {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}}
    for run in plan.runs():
        values = {name: {metric: Value(0.02, 1, 1, 9) for metric in metrics} for name, metrics in plan.wanted().items()}
        store.write(Record(run, values, provenance))
    capsys.readouterr()
    assert vqbench("table", "small_datasets", "--paper", "--json", *words) == 0
    official = json.loads(capsys.readouterr().out)[0]
    verdicts = {cell["verdict"] for cell in official["cells"] if cell["paper"]}
    assert verdicts == {"NOT COMPARABLE"}
    assert vqbench("table", "small_datasets", "--paper", *words) == 0
    assert reason in " ".join(capsys.readouterr().out.split())


def test_output_goes_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """-o writes the printed output to a file; a missing folder is made, and a file in its place is one sentence."""
    words = ("table", "quick", "--store", tmp_path, "--results", tmp_path / "none")
    assert vqbench(*words) == 0
    printed = capsys.readouterr().out
    assert vqbench(*words, "-o", tmp_path / "table.txt") == 0
    assert (tmp_path / "table.txt").read_text() == printed
    assert vqbench(*words, "-o", tmp_path / "absent" / "table.txt") == 0
    assert (tmp_path / "absent" / "table.txt").read_text() == printed
    capsys.readouterr()
    assert vqbench(*words, "-o", tmp_path / "table.txt" / "table.txt") == 2
    assert "not a usable path" in capsys.readouterr().err


@pytest.mark.integration
def test_a_thousand_records_make_a_table_without_torch(tmp_path: Path) -> None:
    """A table over 1,000 stored runs comes from the kept keys alone: neither torch nor a plugin is imported."""
    suite = tmp_path / "wide.yaml"
    betas = ", ".join(f"{0.001 * number:.3f}" for number in range(1, 1001))
    suite.write_text(
        "name: wide\ntrain: {clean: {epochs: 1}}\ndatasets: [fashion_mnist_5k]\n"
        f"quantizers: [{{vq: {{beta: [{betas}]}}}}]\nmetrics: [l1, psnr]\nmeasure: [clean]\n"
    )
    from vqbench.planning import loading, plan_file

    store = ResultStore(tmp_path / "runs")
    plan = loading.load(suite, [store])
    plan_file.save(plan, store)
    provenance = {"seconds": 1.0, "device": "cpu", "threads": 1, "versions": {"torch": "2"}}
    for run in plan.runs():
        store.write(Record(run, {"clean": {name: Value(0.5, 1, 1, 1000) for name in ("l1", "psnr")}}, provenance))
    command = [sys.executable, "-X", "importtime", "-m", "vqbench", "table", str(suite), "--store", str(store.root)]
    started = time.monotonic()
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    print(f"{time.monotonic() - started:.2f} s for 1,000 records")
    assert shown.stdout.count("0.5000") == 1000
    assert not [line for line in shown.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]
