"""Suites on clusters of this machine: quantizers that note their passes, runs elsewhere and alone."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from tests.support.processes import plugin
from tests.support.tiny_suite import vqbench

ray_is_there = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install 'vqbench[ray]'"
)


def noting_plugin(folder: Path, name: str, odd: str) -> Path:
    """Write a quantizer that notes every training pass, and runs the code ``odd`` in those after the 20th."""
    note = 'if self.training: print(os.getpid(), file=open("{folder}/passes", "a"))'
    return plugin(folder, name, odd.format(folder=folder), always=note.format(folder=folder))


def passes(folder: Path) -> dict[str, int]:
    """Training passes of each process, in the order of their first."""
    counts: dict[str, int] = {}
    for process in (folder / "passes").read_text().split():
        counts[process] = counts.get(process, 0) + 1
    return counts


def alone(*line: object) -> None:
    """Carry out a command line in this process, with the one thread that a run has elsewhere in these tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert vqbench(*line, "-q", "--jobs", "0") == 0
    torch.set_num_threads(threads)
