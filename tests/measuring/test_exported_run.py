"""A run's exported reconstructions and codes, or its model, measured: the values of its record, digit for digit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import vqbench as api
from tests.support.tiny_suite import vqbench
from vqbench import assets, registry
from vqbench.api.measure import measure_files
from vqbench.api.measure_models import ModelOptions, measure_model
from vqbench.errors import AssetError, Interrupted, UsageError

pytestmark = pytest.mark.integration

METRICS = ("l1", "psnr", "ssim", "usage", "perplexity", "bits")
NETWORKS = ("l1", "lpips", "rfid")  # compared on fewer images, which take seconds
FEW = 200  # test images of these: two whole batches, as kept features are of whole ones


def trained(folder: Path, *words: str) -> Path:
    """Put a store of one row of `quick`, trained for an epoch, and what `export` writes of it into ``folder``."""
    small = ("--only", "vq", "--epochs", "1", "--subset", "600", *words)
    store = folder / "runs"
    assert vqbench("run", "quick", *small, "--store", store, "--jobs", "0", "-q", "--device", "cpu") == 0
    (run,) = store.rglob("record.json")
    words = ("--reconstructions", "--store", str(store), "-o", str(folder / "exported"), "-q", "--device", "cpu")
    assert vqbench("export", run.parent, *words) == 0
    images = registry.create("datasets", "fashion_mnist_5k").pixels("test")  # type: ignore[attr-defined]
    np.save(folder / "originals.npy", images.numpy())
    (folder / "record.json").write_bytes(run.read_bytes())
    (folder / "run").symlink_to(run.parent)
    return folder


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained and exported row, with values of metrics without networks."""
    return trained(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def with_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with LPIPS and rFID, of the first test images."""
    try:
        for name in ("vgg16_lpips", "inception_fid"):
            assets.tensors(name)
    except AssetError as error:
        pytest.skip(f"weights are not to be had on this machine: {error}")
    folder = trained(tmp_path_factory.mktemp("networks"), "--test-images", str(FEW), "--metrics", "rfid")
    for path in paths(folder)[:2]:
        np.save(path, np.load(path)[:FEW])
    codes = np.load(paths(folder)[2])
    np.savez(paths(folder)[2], **{key: codes[key][:FEW] if codes[key].ndim else codes[key] for key in codes.files})
    return folder


def stored(exported: Path) -> dict[str, dict[str, float]]:
    """The values of the record: protocol -> metric -> value."""
    values = json.loads((exported / "record.json").read_text())["values"]
    plain = {name.partition("@")[0]: part for name, part in values.items()}
    return {name: {metric: each["value"] for metric, each in part.items()} for name, part in plain.items()}


def paths(exported: Path) -> tuple[Path, Path, Path]:
    return exported / "originals.npy", exported / "exported/reconstructions.npy", exported / "exported/codes.npz"


@dataclass(frozen=True)
class Case:
    """What of a run is measured."""

    folder: Path
    metrics: tuple[str, ...]
    originals: Path | None  # for its model; None for the test images of its data set

    @property
    def record(self) -> dict[str, float]:
        """The values of the record under clean."""
        return {name: value for name, value in stored(self.folder)["clean"].items() if name in self.metrics}


@pytest.fixture(params=["pixels", pytest.param("networks", marks=pytest.mark.slow)])
def case(request: pytest.FixtureRequest) -> Case:
    """Metrics of pixels and codes on all test images, then those of networks on the first."""
    if request.param == "pixels":
        return Case(request.getfixturevalue("exported"), METRICS, None)
    folder = request.getfixturevalue("with_networks")
    return Case(folder, NETWORKS, paths(folder)[0])


def test_values_are_those_of_the_record(case: Case) -> None:
    """Every digit of every value of the record comes out of the exported floats and codes."""
    for protocol, expected in stored(case.folder).items():
        metrics = [name for name in case.metrics if name in expected]
        assert len(metrics) >= 3
        found = api.evaluate(*paths(case.folder), protocol=protocol, metrics=metrics)
        assert {name: found[name] for name in metrics} == {name: expected[name] for name in metrics}


def test_stopped_at_random_batches(exported: Path, tmp_path: Path) -> None:
    """Stopped at random batches, and resumed, the values are still those of the record."""
    expected = Case(exported, METRICS, None).record
    draw = random.Random(0)

    def stop(done: int, total: int) -> None:
        if draw.random() < 0.4 and done < total:
            raise Interrupted("stopped")

    for _ in range(100):
        try:
            found = measure_files(*paths(exported), metrics=list(expected), store=tmp_path, progress=stop)
            break
        except Interrupted:
            continue
    assert {name: found[name] for name in expected} == expected
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


@pytest.mark.parametrize("through", ["files", "model"])
def test_killed_at_random_moments(through: str, case: Case, tmp_path: Path) -> None:
    """Killed by SIGKILL after batches, and called again, JSON has where it resumed and the values of the record."""
    expected = case.record
    originals, reconstructions, codes = map(str, paths(case.folder))
    files = [originals, reconstructions, "--codes", codes]
    model = [*([str(case.originals)] if case.originals else []), "--model", str(case.folder / "run")]
    words = ["measure", *(files if through == "files" else model)]
    words += [
        "--store",
        str(tmp_path),
        "--json",
        "-q",
        "--device",
        "cpu",
        *(word for name in expected for word in ("--metrics", name)),
    ]
    draw = random.Random(0)
    kills = 1 if case.originals else 3
    for attempt in range(kills + 1):
        before = [file.stat().st_mtime_ns for file in tmp_path.rglob("progress.npz")]
        process = subprocess.Popen([sys.executable, "-c", KILLED, *words], stdout=-1, stderr=-1, text=True)
        if attempt < kills:
            deadline = time.monotonic() + 300
            while [file.stat().st_mtime_ns for file in tmp_path.rglob("progress.npz")] == before:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.01)
            time.sleep(draw.random() * 0.3)
            process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=300)
        assert process.returncode == (-signal.SIGKILL if attempt < kills else 0), err
    data = json.loads(out)
    assert data["resumed_at"] >= 100 * kills
    assert f"resumed at image {data['resumed_at'] + 1} of" in err.replace(",", "")
    assert {row["metric"]: row["value"] for row in data["values"]} == expected


def through_model(case: Case, **how: object) -> tuple[dict[str, float], api.Evaluation]:
    """The values of the run as a model, and the evaluation."""
    model = ModelOptions(case.folder / "run")
    found = measure_model(case.originals, model, metrics=list(case.record), **how)  # type: ignore[arg-type]
    return {name: found[name] for name in case.record}, found


def test_the_model_has_the_values_of_the_record(case: Case) -> None:
    """The run as the model has every digit of its record."""
    found, evaluation = through_model(case)
    assert found == case.record
    assert evaluation.about["model"]["kind"] == "run of vqbench"


def test_the_model_takes_its_images_in_other_ways(exported: Path) -> None:
    """On an array, or a data set by name, the run and what was exported of it have every digit of its record."""
    expected = Case(exported, METRICS, None).record
    for originals, dataset in ((exported / "originals.npy", None), (None, "fashion_mnist_5k")):
        again = api.evaluate(originals, model=exported / "run", dataset=dataset, metrics=list(expected))
        assert {name: again[name] for name in expected} == expected
    elsewhere = api.evaluate(exported / "originals.npy", model=exported / "exported", metrics=list(expected))
    assert {name: elsewhere[name] for name in expected} == expected


def test_the_model_stopped_at_random_batches(exported: Path, tmp_path: Path) -> None:
    """Stopped at random batches, and resumed, the model still has the values of the record."""
    case = Case(exported, METRICS, None)
    draw = random.Random(1)

    def stop(done: int, total: int) -> None:
        if draw.random() < 0.4 and done < total:
            raise Interrupted("stopped")

    for _ in range(100):
        try:
            found, evaluation = through_model(case, store=tmp_path, progress=stop)
            break
        except Interrupted:
            continue
    assert found == case.record
    assert evaluation.about["resumed_at"] > 0


def test_what_a_run_is_not_given(exported: Path, tmp_path: Path) -> None:
    """Images of another size, and another range, are refused for a run."""
    np.save(tmp_path / "larger.npy", np.zeros((4, 1, 32, 32), np.uint8))
    np.save(tmp_path / "colour.npy", np.arange(4 * 3 * 28 * 28, dtype=np.uint8).reshape(4, 3, 28, 28))
    for path, more, sentence in (
        (tmp_path / "larger.npy", {}, "it has 32x32 pixels, and .* takes 28x28"),
        (tmp_path / "colour.npy", {}, "it has colours, and .* takes one channel"),
        (exported / "originals.npy", {"model_range": "0..1"}, "takes -1..1, as it was trained"),
        (exported / "originals.npy", {"batch_size": 200}, "takes 1 to 100 images"),
    ):
        with pytest.raises(UsageError, match=sentence):
            api.evaluate(path, model=exported / "run", **more)
