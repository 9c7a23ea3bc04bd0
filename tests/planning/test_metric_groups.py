"""Metrics are asked for by group: fast, paper or all, in every command that takes names of metrics."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

import vqbench
from tests.cli.test_json import require
from tests.support.tiny_suite import vqbench as command
from tests.support.tiny_suite import write
from vqbench import registry
from vqbench.api.measure_sets import measure_images
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.forecast import MeasuredTimes, cost_by_group, measured
from vqbench.protocol import MEASURE
from vqbench.registry import metric_groups
from vqbench.reporting import paper as printed_tables
from vqbench.store.record import Record
from vqbench.store.results import ResultStore

FIRST = ["l1", "psnr", "usage"]  # the suite's own


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory and a cache folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))


def test_paper_is_what_the_papers_tables_print() -> None:
    """The group paper has the metrics in the files of printed values, and no other."""
    folder = Path(printed_tables.__file__).parent
    columns = {row["metric"] for path in folder.glob("b?.csv") for row in csv.DictReader(path.read_text().splitlines())}
    assert set(metric_groups.members("paper", MEASURE.values())) == columns & set(registry.names("metrics"))


def test_fast_needs_no_weights() -> None:
    """No metric of the group fast needs an asset under any protocol, and every other one needs one under one."""
    protocols = list(MEASURE.values())
    fast = metric_groups.members("fast", protocols)
    for name in registry.names("metrics"):
        needs = [asset for each in protocols for asset in registry.load("metrics", name).assets(each)]
        assert (name in fast) == (not needs), name
    assert metric_groups.members("all", MEASURE.values()) == registry.names("metrics")


def test_a_group_takes_the_place_of_a_suites_metrics(tmp_path: Path) -> None:
    """A group is measured instead of the suite's metrics, which come first; a name beside it is added."""
    suite = str(write(tmp_path, "vq"))
    loaded = vqbench.load_suite(suite, metrics="fast")
    fast = loaded.metrics
    assert fast == [*FIRST, *(name for name in fast if name not in FIRST)]
    assert {"bits", "entropy", "perplexity", "ssim", "stability"} < set(fast)
    assert not {"lpips", "rfid", "dists", "ms_ssim"} & set(fast)
    assert loaded.spec.table.columns == [*FIRST, "seconds", *fast[3:]]
    assert vqbench.load_suite(suite, metrics="paper").metrics == ["l1", "psnr", "usage", "lpips", "rfid", "ssim"]
    assert vqbench.load_suite(suite, metrics=["fast", "lpips"]).metrics == [*fast, "lpips"]
    assert vqbench.load_suite(suite, metrics=["lpips"]).metrics == ["l1", "psnr", "usage", "lpips"]


def test_all_has_what_applies(tmp_path: Path) -> None:
    """Groups leave out metrics of larger images, of more images, of samples without a generator, of pixels."""
    suite = str(write(tmp_path, "vq"))
    everything = vqbench.load_suite(suite, metrics="all")
    assert {"rfid", "lpips", "ifid"} < set(everything.metrics)
    assert not {"fid", "copies", "prior_bits", "ms_ssim"} & set(everything.metrics)
    assert len(everything.resolve([]).runs()) == 1, "it can be carried out"
    few = vqbench.load_suite(suite, metrics="all", test_images=2)
    assert set(everything.metrics) - set(few.metrics) == {"rprecision", "rrecall", "rdensity", "rcoverage"}
    assert vqbench.load_suite("atomic_quick", metrics="paper").metrics == ["usage"]
    generated = vqbench.load_suite("generate_quick", metrics="all")
    assert "fid" in generated.metrics
    assert "prior_bits" not in generated.metrics, "diffusion has no likelihood"


def test_wrong_mixes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two groups, and a group without a metric that applies, are one sentence that says what to do."""
    suite = write(tmp_path, "vq")
    for name in ("run", "plan", "table", "report", "status"):
        assert command(name, suite, "--metrics", "fast", "--metrics", "paper") == 2
        said = capsys.readouterr().err
        assert "--metrics fast, paper: fast and paper are groups of metrics, of which one is taken; name one" in said
    with pytest.raises(UsageError, match="fast and all are groups"):
        vqbench.evaluate([[[[0.5]]]], [[[[0.5]]]], metrics=["fast", "all"])
    for folder in "ab":
        (tmp_path / folder).mkdir()
        write_images(tmp_path / folder)
    with pytest.raises(UsageError, match="fast: none of its metrics applies here"):
        measure_images(tmp_path / "a", reference=tmp_path / "b", metrics=["fast"])


def write_images(folder: Path) -> None:
    """Write three images of 32x32."""
    for level in (0, 90, 200):
        Image.new("L", (32, 32), level).save(folder / f"{level}.png")


def test_run_and_table_of_a_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run by group has its values, the table its columns, and the cost of the rest is shown by group."""
    suite = write(tmp_path, "vq")
    fast = vqbench.load_suite(str(suite), metrics="fast").metrics
    small = ("--subset", "640", "--test-images", "20", "--store", "runs")
    assert command("run", suite, "--metrics", "fast", *small, "--device", "cpu") == 0
    assert "Entropy" in capsys.readouterr().out
    assert command("table", suite, "--metrics", "fast", "--format", "csv", *small) == 0
    assert set(fast) <= {row["metric"] for row in csv.DictReader(capsys.readouterr().out.splitlines())}
    assert command("plan", suite, "--metrics", "all", "--cost", "--json", *small, "--results", "none") == 0
    forecast = json.loads(capsys.readouterr().out)
    require("plan --cost", forecast)
    (device,) = forecast["devices"]
    left = device["measuring_by_group"]
    assert set(left) == {"paper", "all"}, "fast is done"
    assert left["paper"] == {"values": 2, "runs": 1, "seconds": 0, "not_timed": 1, "at_most": False}
    assert command("plan", suite, "--metrics", "fast", "--seeds", "7", "--cost", *small, "--results", "none") == 0
    shown = capsys.readouterr().out
    assert f"measuring, by --metrics    values left    takes\nfast                       {len(fast)} " in shown
    assert "paper                      4              at most " in shown


def test_cost_by_group(tmp_path: Path) -> None:
    """Seconds are those of exactly these metrics, else of the smallest pass with more; else a run is not timed."""
    plan = loading.load(write(tmp_path, "vq"), [], metrics=["lpips"])
    (run,) = plan.runs()
    store, protocol = ResultStore(tmp_path / "runs"), plan.protocols()[0]
    left = frozenset((protocol, name) for name in ("l1", "psnr", "usage", "lpips"))
    known = MeasuredTimes()
    assert cost_by_group(plan, [(run, left)], known)["fast"].takes == "not timed here"
    for seconds, names in ((9.0, ["l1", "psnr", "usage", "lpips"]), (5.0, ["l1", "psnr", "usage", "bits"])):
        training = {"device": "a CPU", "seconds": 1.0, "threads": 2}
        pass_ = {"device": "a CPU", "threads": 2, "seconds": seconds, "metrics": {protocol: names}}
        store.write(Record(run, {}, {**training, "measured": [pass_]}))
        for at, each in measured(plan, store.summaries())["a CPU, 2 threads"].measuring.items():
            known.measuring[at] = each
    costs = cost_by_group(plan, [(run, left)], known)
    assert (costs["fast"].values, costs["fast"].takes) == (3, "at most 5s")
    assert (costs["paper"].values, costs["paper"].takes) == (4, "9s")
    assert costs["all"].takes == "9s"
