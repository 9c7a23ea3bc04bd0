"""A run's exported reconstructions and codes, measured: the values of its record, digit for digit."""

from __future__ import annotations

import json
import random
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
