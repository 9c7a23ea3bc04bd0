"""Evaluations time how many images a model encodes and decodes per second, and tables show it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from vqbench import registry
from vqbench.backbone import Autoencoder
from vqbench.conformance.metrics.tiny_model import LevelQuantizer, PatchMoments
from vqbench.dataset import Dataset
from vqbench.evaluation import reconstructions
from vqbench.evaluation.reconstructions import Evaluator, Measurement
from vqbench.planning import loading
from vqbench.quantizer import QuantizerOutput
from vqbench.reporting.tables import assemble
from vqbench.reporting.tables.render import render
from vqbench.store.record import Record, Value
from vqbench.store.results import ResultStore

CPU = torch.device("cpu")
SUITE = """
name: speeds
title: Speeds
train: {clean: {epochs: 2, batch_size: 64}}
measure: [clean]
datasets: [fashion_mnist_5k]
codebook: {num_codes: 64, dim: 8}
quantizers:
  - {vq: {}, label: vq}
seeds: [1, 2]
metrics: [psnr]
table: {columns: [psnr, encode_speed, decode_speed]}
"""


class Clock:
    """A clock that only the model's work moves."""

    def __init__(self) -> None:
        self.seconds, self.first = 0.0, True

    def perf_counter(self) -> float:
        return self.seconds

    def moved(self, compute: Callable[..., Any], seconds: float) -> Callable[..., Any]:
        """Return ``compute``, which takes ``seconds``; the first batch, which warms up, a hundred."""

        def slow(*args: Any) -> Any:
            self.seconds += 100 if self.first else seconds
            return compute(*args)

        return slow


def first_images(count: int) -> Dataset:
    """Fashion-MNIST with its first test images alone."""
    dataset = registry.load("datasets", "fashion_mnist_5k")()
    pixels = dataset.pixels("test")[:count]
    dataset.pixels = lambda split: pixels
    return dataset


def measured(count: int, monkeypatch: pytest.MonkeyPatch, depth: int = 2) -> Measurement:
    """Evaluate a model that takes 0.25 s for features, codes, looking up and decoding of a batch each."""
    clock = Clock()
    monkeypatch.setattr(reconstructions.time, "perf_counter", clock.perf_counter)
    model = Autoencoder(PatchMoments(1, 28), LevelQuantizer(16, 2, depth=depth))
    for part, name in ((model.backbone, "encode"), (model.backbone, "decode"), (model.quantizer, "decode")):
        monkeypatch.setattr(part, name, clock.moved(getattr(part, name), 0.25))
    forward = model.quantizer.forward

    def quantized(z: Tensor) -> QuantizerOutput:
        clock.seconds += 0.25
        before, clock.seconds = clock.seconds, 0.0  # the tiny quantizer's forward looks codes up itself
        out = forward(z)
        clock.seconds = before
        return out

    monkeypatch.setattr(model.quantizer, "forward", quantized)

    def see(codes: Tensor) -> None:
        clock.seconds += 10  # what is no coding does not count

    def progress(done: int, total: int) -> None:
        clock.first = False

    return Evaluator(first_images(count), CPU).measure(model, {"clean": ["l1"]}, progress, see=see)


def test_speeds_are_those_of_full_batches_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 images in half a second each way are 200 a second, whatever the first and the last, smaller batch take."""
    assert measured(450, monkeypatch).speeds == {"encode_speed": 200.0, "decode_speed": 200.0}


def test_without_codes_nothing_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that quantizes nothing is timed as well; its decoder alone decodes 400 images a second."""
    assert measured(400, monkeypatch, depth=0).speeds == {"encode_speed": 200.0, "decode_speed": 400.0}


def test_few_batches_have_no_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three full batches two are timed, which is too few to say anything."""
    assert measured(399, monkeypatch).speeds == {}


def test_timing_changes_no_value(monkeypatch: pytest.MonkeyPatch) -> None:
    """An evaluation in which nothing is timed has the same values, bit for bit."""
    timed = measured(400, monkeypatch)
    monkeypatch.setattr(reconstructions, "TIMED", range(0))
    plain = measured(400, monkeypatch)
    assert timed.values == plain.values
    assert (timed.images["clean/l1"] == plain.images["clean/l1"]).all()
    assert plain.speeds == {}


def test_a_table_shows_the_last_evaluation_that_was_timed(tmp_path: Path) -> None:
    """Columns have no direction and no rank; seeds whose record has no speed are left out, and said so."""
    (tmp_path / "speeds.yaml").write_text(SUITE)
    plan, store = loading.load(tmp_path / "speeds.yaml", []), ResultStore(tmp_path / "runs")
    fast = {"seconds": 1.0, "metrics": {"clean": ["psnr"]}, "encode_speed": 250.0, "decode_speed": 500.0}
    slow = {**fast, "encode_speed": 125.0}
    untimed = {"seconds": 1.0, "metrics": {"clean": ["psnr"]}}
    for entry, evaluations in zip(plan.entries, ([fast, slow, untimed], [untimed]), strict=True):
        provenance = {"seconds": 1.0, "device": "a CPU", "threads": 1, "versions": {"torch": "2"}, "commit": None}
        provenance |= {"date": "2026-01-31T12:00:00Z", "measured": evaluations}
        store.write(Record(entry.run, {"clean": {"psnr": Value(20.0, 1, 1, 1000)}}, provenance))
    [table] = assemble.tables(plan, [store])
    cells = {place.column.key: place.cell for place in table.places()}
    assert [cells[name].values for name in ("encode_speed", "decode_speed")] == [[125.0], [500.0]]
    assert cells["encode_speed"].footnotes == ["1 of 2 seeds"]
    assert not [place.rank for place in table.places() if place.column.key != "psnr" and place.rank]
    assert "Encode [images/s]" in render(table, width=100)


def test_a_record_without_speeds_shows_none(tmp_path: Path) -> None:
    """Where no evaluation was timed, the cell is empty, neither to do nor failed."""
    (tmp_path / "speeds.yaml").write_text(SUITE)
    plan, store = loading.load(tmp_path / "speeds.yaml", []), ResultStore(tmp_path / "runs")
    for entry in plan.entries:
        provenance = {"seconds": 1.0, "device": "a CPU", "threads": 1, "versions": {"torch": "2"}, "commit": None}
        provenance |= {"date": "2026-01-31T12:00:00Z", "measured": []}
        store.write(Record(entry.run, {"clean": {"psnr": Value(20.0, 1, 1, 1000)}}, provenance))
    [table] = assemble.tables(plan, [store])
    assert {place.cell.status for place in table.places() if place.column.key == "encode_speed"} == {"none"}
