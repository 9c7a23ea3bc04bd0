"""A measurement that is stopped or killed resumes, and has the values of one that was not."""

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

import vqbench
from tests.measuring.conftest import write_pairs
from tests.support.tiny_suite import vqbench as command
from vqbench.api.measure import measure_files
from vqbench.errors import Interrupted
from vqbench.measuring import pair_measurement, pair_stream

pytestmark = pytest.mark.integration

Pairs = tuple[Path, Path]
METRICS = ["l1", "psnr", "ssim"]


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_stream, "PIXELS", 5 * 64 * 64)  # five images a batch


def stopping_at(position: int):  # type: ignore[no-untyped-def]
    def progress(done: int, total: int) -> None:
        if done >= position:
            raise Interrupted("stopped")

    return progress


def test_a_stopped_measurement_resumes(pairs: Pairs, tmp_path: Path) -> None:
    """Stopped after 5 and after 15 images, it says at which image it resumes, counts it, and has the same bits."""
    whole = vqbench.evaluate(*pairs, metrics=METRICS)
    said: list[str] = []
    for position in (5, 15):
        with pytest.raises(Interrupted):
            measure_files(*pairs, metrics=METRICS, store=tmp_path, progress=stopping_at(position), say=said.append)
    found = measure_files(*pairs, metrics=METRICS, store=tmp_path, say=said.append)
    assert said == ["resumed at image 6 of 24", "resumed at image 16 of 24"]
    assert found.about["resumed_at"] == 15
    assert found.values.value.tolist() == whole.values.value.tolist()
    np.testing.assert_array_equal(found.per_image.psnr, whole.per_image.psnr)


def test_a_finished_measurement_is_read(pairs: Pairs, tmp_path: Path) -> None:
    """Called again, values are those of the store, at once; other metrics or an image that was changed are measured."""
    first = measure_files(*pairs, metrics=METRICS, store=tmp_path / "store")
    said: list[str] = []
    again = measure_files(*pairs, metrics=METRICS, store=tmp_path / "store", say=said.append, progress=stopping_at(0))
    assert len(said) == 1
    assert "measured before" in said[0]
    assert again.table() == first.table()
    assert again.per_image.equals(first.per_image)
    with pytest.raises(Interrupted):
        measure_files(*pairs, metrics=["l1"], store=tmp_path / "store", progress=stopping_at(0))
    own = write_pairs(tmp_path / "own", count=4)
    measure_files(*own, store=tmp_path / "store")
    image = next(own[1].rglob("*.jpg"))
    image.write_bytes(image.read_bytes() + b"\0")  # still an image
    with pytest.raises(Interrupted):
        measure_files(*own, store=tmp_path / "store", progress=stopping_at(0))


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04", b"{}"])
def test_damaged_files_of_the_store_are_measured_again(pairs: Pairs, tmp_path: Path, damage: bytes) -> None:
    """Progress or results that are damaged lose time, but never change a value."""
    whole = vqbench.evaluate(*pairs, metrics=METRICS)
    with pytest.raises(Interrupted):
        measure_files(*pairs, metrics=METRICS, store=tmp_path, progress=stopping_at(10))
    (progress,) = tmp_path.rglob("progress.npz")
    progress.write_bytes(damage)
    found = measure_files(*pairs, metrics=METRICS, store=tmp_path)
    assert found.about["resumed_at"] == 0
    assert found.values.value.tolist() == whole.values.value.tolist()
    for name in ("measured.json", "per_image.csv"):
        (file,) = tmp_path.rglob(name)
        file.write_bytes(damage)
        assert measure_files(*pairs, metrics=METRICS, store=tmp_path).values.equals(whole.values)


KILLED = """
import sys
from vqbench.measuring import pair_measurement, pair_stream
pair_stream.PIXELS, pair_measurement.SAVED_EVERY = 5 * 64 * 64, 0.0
from vqbench.cli.app import run_words
sys.exit(run_words(sys.argv[1:]))
"""


def test_killed_at_random_moments(pairs: Pairs, tmp_path: Path) -> None:
    """Killed by SIGKILL and by SIGTERM, wherever it is, it ends with the same digits."""
    whole = vqbench.evaluate(*pairs, metrics=METRICS)
    store = tmp_path / "measured"
    words = ["measure", *map(str, pairs), "--store", str(store), "--json", "-q", "--device", "cpu"]
    draw = random.Random(0)
    for attempt in range(12):
        process = subprocess.Popen([sys.executable, "-c", KILLED, *words], stdout=-1, stderr=-1, text=True)
        deadline = time.monotonic() + 60
        while not any(store.rglob("progress.npz")) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.05)
        if attempt < 4:
            process.send_signal(draw.choice([signal.SIGKILL, signal.SIGTERM]))
        out, err = process.communicate(timeout=60)
        if process.returncode == 0:
            break
        assert process.returncode in (-signal.SIGKILL, -signal.SIGTERM, 75), err  # -SIGTERM: it had just finished
    data = json.loads(out)
    assert [row["value"] for row in data["values"]] == whole.values.value.tolist()


def test_two_processes(pairs: Pairs, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second process that would measure the same images is refused."""
    from vqbench.system.locks import lock_folder

    with pytest.raises(Interrupted):
        measure_files(*pairs, store=tmp_path, progress=stopping_at(5))
    (folder,) = tmp_path.iterdir()
    with lock_folder(folder):
        assert command("measure", *pairs, "--store", tmp_path, "--device", "cpu") == 2
    assert "another process is measuring these images" in capsys.readouterr().err
    assert pair_measurement.SAVED_EVERY > 1
