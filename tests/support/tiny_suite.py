"""A suite that takes seconds, and helpers to run it and to compare its results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from vqbench.cli import app

SUITE = """
name: tiny
train: {{clean: {{epochs: {epochs}, batch_size: 64, learning_rate: 1e-3}}}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {{conv: {{hidden: 16, residual_hidden: 8}}}}
codebook: {{num_codes: 64, dim: 16}}
quantizers: [{rows}]
metrics: [l1, psnr, usage]
table: {{columns: [l1, psnr, usage, seconds]}}
"""


def write(folder: Path, rows: str, epochs: int = 1) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(SUITE.format(rows=rows, epochs=epochs))
    return path


def vqbench(*words: object) -> int:
    return app.run_words([str(word) for word in words])


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "vqbench", *map(str, words)]


def weights(store: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Every run's selected weights."""
    return {path.parent.name: torch.load(path, weights_only=True) for path in store.glob("*/best.pt")}


def assert_same(first: Path, second: Path) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    for run, state in ours.items():
        for name, value in state.items():
            assert torch.equal(value, theirs[run][name]), f"{run}: {name}"


def values(store: Path) -> dict[str, object]:
    """Every run's measured values, at full precision."""
    return {path.parent.name: json.loads(path.read_text())["values"] for path in store.glob("*/record.json")}
