"""A run's exported reconstructions and codes, measured: the values of its record, digit for digit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import vqbench as api
from tests.support.tiny_suite import vqbench
from vqbench import registry
from vqbench.api.measure import measure_files
from vqbench.errors import Interrupted

METRICS = ("l1", "psnr", "ssim", "usage", "perplexity", "bits")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of one row of `quick`, trained for an epoch, and what `export` writes of it."""
    folder = tmp_path_factory.mktemp("run")
    small = ("--only", "vq", "--epochs", "1", "--subset", "600")
    store = folder / "runs"
    assert vqbench("run", "quick", *small, "--store", store, "--jobs", "0", "-q", "--device", "cpu") == 0
    (run,) = store.rglob("record.json")
    words = ("--reconstructions", "--store", store, "-o", folder / "exported", "-q", "--device", "cpu")
    assert vqbench("export", run.parent, *words) == 0
    images = registry.create("datasets", "fashion_mnist_5k").pixels("test")  # type: ignore[attr-defined]
    np.save(folder / "originals.npy", images.numpy())
    (folder / "record.json").write_bytes(run.read_bytes())
    return folder


def stored(exported: Path) -> dict[str, dict[str, float]]:
    """The values of the record: protocol -> metric -> value."""
    values = json.loads((exported / "record.json").read_text())["values"]
    return {name: {metric: each["value"] for metric, each in part.items()} for name, part in values.items()}


def paths(exported: Path) -> tuple[Path, Path, Path]:
    return exported / "originals.npy", exported / "exported/reconstructions.npy", exported / "exported/codes.npz"


def test_values_are_those_of_the_record(exported: Path) -> None:
    """Every digit of every value of the record comes out of the exported floats and codes."""
    for protocol, expected in stored(exported).items():
        metrics = [name for name in METRICS if name in expected]
        assert len(metrics) >= 5
        found = api.evaluate(*paths(exported), protocol=protocol, metrics=metrics)
        assert {name: found[name] for name in metrics} == {name: expected[name] for name in metrics}


def test_stopped_at_random_batches(exported: Path, tmp_path: Path) -> None:
    """Stopped at random batches, and resumed, the values are still those of the record."""
    expected = stored(exported)["clean"]
    metrics = [name for name in METRICS if name in expected]
    draw = random.Random(0)

    def stop(done: int, total: int) -> None:
        if draw.random() < 0.4 and done < total:
            raise Interrupted("stopped")

    for _ in range(100):
        try:
            found = measure_files(*paths(exported), metrics=metrics, store=tmp_path, progress=stop)
            break
        except Interrupted:
            continue
    assert {name: found[name] for name in metrics} == {name: expected[name] for name in metrics}
    assert found.about["resumed_at"] > 0


KILLED = """
import sys, time
from vqbench.measuring import pair_measurement
from vqbench.measuring.kept_measurement import KeptMeasurement

save = KeptMeasurement.save

def save_and_wait(self, *state):
    save(self, *state)
    time.sleep(0.2)

pair_measurement.SAVED_EVERY, KeptMeasurement.save = 0.0, save_and_wait
from vqbench.cli.app import run_words
sys.exit(run_words(sys.argv[1:]))
"""


def test_killed_at_random_moments(exported: Path, tmp_path: Path) -> None:
    """Killed by SIGKILL three times, and called again, JSON has where it resumed and the values of the record."""
    expected = stored(exported)["clean"]
    metrics = [name for name in METRICS if name in expected]
    originals, reconstructions, codes = map(str, paths(exported))
    words = ["measure", originals, reconstructions, "--codes", codes, "--store", str(tmp_path), "--json", "-q"]
    words += ["--device", "cpu", *(word for name in metrics for word in ("--metrics", name))]
    draw = random.Random(0)
    for attempt in range(4):
        before = [file.stat().st_mtime_ns for file in tmp_path.rglob("progress.npz")]
        process = subprocess.Popen([sys.executable, "-c", KILLED, *words], stdout=-1, stderr=-1, text=True)
        if attempt < 3:
            deadline = time.monotonic() + 300
            while [file.stat().st_mtime_ns for file in tmp_path.rglob("progress.npz")] == before:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(draw.random() * 0.3)
            process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=300)
        assert process.returncode == (-signal.SIGKILL if attempt < 3 else 0), err
    data = json.loads(out)
    assert data["resumed_at"] >= 300
    assert f"resumed at image {data['resumed_at'] + 1} of" in err.replace(",", "")
    assert {row["metric"]: row["value"] for row in data["values"]} == {name: expected[name] for name in metrics}
