"""Small complete runs on real images: trained, evaluated, stored, stopped, resumed, failed, shown."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_suite import assert_same, command, vqbench, write
from vqbench import registry
from vqbench.errors import UsageError
from vqbench.training.engine import devices_of

pytestmark = pytest.mark.integration

HERE = ("--jobs", "0")  # in this process, where how runs are carried out is not the question

# A quantizer that a user might bring: it fails as broken mathematics does.
NAN_PLUGIN = '''
import torch
from vqbench.quantizers.vq import VQ


class Broken(VQ):
    """Its loss is not a number."""

    paper = "none"

    def forward(self, z):
        out = super().forward(z)
        out.loss = out.loss * torch.nan
        return out
'''


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write(tmp_path, "vq, cvq")


def table_of(store: Path, suite: Path, capsys: pytest.CaptureFixture[str]) -> list[list[object]]:
    """Return the values of the table at full precision, without seconds."""
    assert vqbench("table", suite, "--store", store, "--json") == 0
    cells = json.loads(capsys.readouterr().out)[0]["cells"]
    return [[cell["row"], cell["metric"], cell["values"]] for cell in cells if cell["metric"] != "seconds"]


def test_a_suite_runs_once_and_is_then_only_read(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first call trains and prints the table; the second prints the same table and does not even import torch."""
    store = tmp_path / "runs"
    assert vqbench("run", suite, "--store", store, "-q", *HERE) == 0
    first = capsys.readouterr().out
    assert "vq" in first
    assert "PSNR" in first
    again = subprocess.run(
        [sys.executable, "-X", "importtime", *command("run", suite, "--store", store)[1:]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert again.stdout == first
    assert "nothing left to do" in again.stderr
    assert not [line for line in again.stderr.splitlines() if line.split("|")[-1].strip() == "torch"]


def test_two_trainings_of_one_seed_are_bit_identical(suite: Path, tmp_path: Path) -> None:
    """On one machine, with one number of threads, a run is a function of its key."""
    for name in ("a", "b"):
        assert vqbench("run", suite, "--store", tmp_path / name, "-q", *HERE) == 0
    assert_same(tmp_path / "a", tmp_path / "b")


@pytest.fixture
def fresh_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Plugin files of one test are unloaded before the next."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    yield
    registry.sources.cache_clear()


@pytest.mark.usefixtures("fresh_registry")
def test_a_failed_run_is_shown_and_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A NaN loss fails only its own row: exit code 1, the reason in the table, and no retry without --retry-failed."""
    plugin = tmp_path / "broken.py"
    plugin.write_text(NAN_PLUGIN)
    suite, store = write(tmp_path, "broken, vq"), tmp_path / "runs"
    words = ("run", suite, "--store", store, "--plugin", plugin, *HERE)
    assert vqbench(*words) == 1
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "the loss of Broken became nan" in shown.out
    assert re.search(r"\[1/2\] broken: FAILED: .*became nan at update 1 of 55, in epoch 1", shown.err)
    assert "vqbench: 1 run failed, for the reason in the lines above\n" in shown.err
    assert "Traceback" not in shown.err
    assert len(list(store.glob("*/record.json"))) == 1
    assert vqbench(*words) == 1
    assert "--retry-failed" in capsys.readouterr().err
    assert vqbench("plan", suite, "--store", store, "--plugin", plugin) == 0
    planned = capsys.readouterr().out
    assert re.search(r"^broken .* failed ", planned, re.MULTILINE)
    assert "0 not done; 1 failed: `run --retry-failed` tries them again" in " ".join(planned.split())
    plugin.write_text(NAN_PLUGIN.replace("torch.nan", "1"))
    fixed = subprocess.run(command(*words, "--retry-failed"), capture_output=True, text=True)
    assert fixed.returncode == 0, fixed.stderr


def test_a_metric_is_added_without_training(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An added metric is computed from the checkpoints, without training, and its provenance is recorded."""
    store = tmp_path / "runs"
    assert vqbench("run", suite, "--store", store, "-q", *HERE) == 0
    before = {path: path.stat().st_mtime_ns for path in store.glob("*/*.pt")}
    assert vqbench("run", suite, "--store", store, "--metrics", "ssim", *HERE) == 0
    shown = capsys.readouterr()
    assert "SSIM" in shown.out
    assert "training" not in shown.err
    assert {path: path.stat().st_mtime_ns for path in store.glob("*/*.pt")} == before
    for path in store.glob("*/record.json"):
        measured = json.loads(path.read_text())["made"]["measured"]
        assert [each["metrics"] for each in measured] == [{"clean": ["l1", "psnr", "usage"]}, {"clean": ["ssim"]}]


def test_per_image_values_average_to_the_stored_value(suite: Path, tmp_path: Path) -> None:
    """Values are kept per image, each of the 1,000 test images once, and their mean is what the table shows."""
    store = tmp_path / "runs"
    assert vqbench("run", suite, "--store", store, "-q", *HERE) == 0
    for path in store.glob("*/record.json"):
        values = json.loads(path.read_text())["values"]["clean"]
        images = np.load(path.parent / "per_image.npz")
        for metric in ("l1", "psnr"):
            assert images[f"clean/{metric}"].shape == (1000,)
            assert values[metric]["images"] == 1000
            assert images[f"clean/{metric}"].mean() == pytest.approx(values[metric]["value"], rel=1e-6)


@pytest.mark.parametrize(
    ("change", "code", "sentence"),
    [
        ("train.clean.batch_size=5000", 2, "batch_size 5000 is larger than the 3,500 training images"),
        ("codebook.num_codes=200000", 1, "num_codes 200000 is larger than all 171500 training features"),
    ],
)
def test_settings_that_do_not_fit_the_data(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, code: int, sentence: str
) -> None:
    """A batch or a codebook larger than the data is one sentence with both numbers."""
    assert vqbench("run", suite, "--store", tmp_path / "runs", "--set", change, *HERE) == code
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu:0", "cpu:1"])
def test_the_cpu_has_no_number(device: str) -> None:
    """`--device cpu:1`, which torch takes and then fails by, is refused with one sentence and exit code 2."""
    for count in (1, 2):
        with pytest.raises(UsageError, match="the CPU is one device, without a number") as raised:
            devices_of(device, count)
        assert raised.value.exit_code == 2


def test_a_missing_gpu_is_one_sentence(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device that this machine lacks is refused before anything starts, with exit code 2."""
    assert vqbench("run", suite, "--store", tmp_path / "runs", "--device", "cuda:99") == 2
    assert "this machine has" in capsys.readouterr().err


def test_clean_and_publish(suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Published records give the same table without checkpoints; cleaned runs stay done, without new metrics."""
    store, results = tmp_path / "runs", tmp_path / "results"
    assert vqbench("run", suite, "--store", store, "-q", *HERE) == 0
    assert vqbench("publish", suite, "--store", store, "--results", results) == 0
    assert not list(results.glob("*/*.pt"))
    assert vqbench("clean", suite, "--store", store) == 0
    assert list(store.glob("*/best.pt")), "without --yes nothing goes"
    assert vqbench("clean", suite, "--store", store, "--yes") == 0
    assert not list(store.glob("*/*.pt"))
    assert vqbench("run", suite, "--store", store, "-q", *HERE) == 0
    assert vqbench("run", suite, "--store", store, "--metrics", "ssim", *HERE) == 1
    assert "the checkpoint was removed" in capsys.readouterr().err
    here, there = (table_of(folder, suite, capsys) for folder in (store, results))
    assert here == there
