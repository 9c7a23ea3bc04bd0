"""A process imports little beyond what its run needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tiny_suite import command, write

pytestmark = pytest.mark.integration

# Python imports a module of this name as it starts. Written when a process ends: its command and our modules in it.
SITE = """
import atexit, json, os, sys

def write():
    ours = sorted(name for name in sys.modules if name.partition(".")[0] == "vqbench")
    packages = [name for name in ours if hasattr(sys.modules[name], "__path__")]
    with open(os.environ["IMPORTS"], "a") as file:
        print(json.dumps([sys.orig_argv, ours, packages]), file=file)

atexit.register(write)
"""


def imported(folder: Path, words: list[str]) -> list[tuple[str, list[str], list[str]]]:
    """Run a command; the words of each process, its modules of ours, and which of those are packages."""
    (folder / "sitecustomize.py").write_text(SITE)
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "IMPORTS": str(folder / "imports"), "PYTHONPATH": path}
    subprocess.run(words, env=environment, check=True, capture_output=True)
    lines = (folder / "imports").read_text().splitlines()
    return [(" ".join(argv), ours, packages) for argv, ours, packages in map(json.loads, lines)]


def test_a_worker_imports_what_one_run_needs(tmp_path: Path) -> None:
    """A worker that trains VQ on the bundled images and evaluates three metrics imports no other plugin.

    It has no assets, no other ranks, no loggers, no second stages, no planning and no tables either.
    """
    suite = write(tmp_path, "vq")
    small = ("--subset", "1100", "--test-images", "50")
    processes = imported(tmp_path, command("run", suite, "--store", tmp_path / "runs", "-q", *small))
    ((_, ours, packages),) = (each for each in processes if "executors.worker" in each[0])
    assert not [
        name
        for name in ours
        if name.split(".")[1:2] in (["assets"], ["networks"], ["planning"], ["reporting"], ["cli"])
    ]
    optional = (
        *("rank_pool", "launching", "gradients", "loggers", "latents", "samples", "contrastive", "anchor_sampling"),
        *("arguments", "checking", "deletion", "console"),
    )
    assert not [name for name in ours if name.rpartition(".")[2] in optional]
    for folder, own in (("quantizers", {"vq"}), ("metrics", {"l1", "psnr", "usage"}), ("recipes", {"autoencoder"})):
        plugins = {name.split(".")[2] for name in ours if name.startswith(f"vqbench.{folder}.")}
        assert {name for name in plugins if not name.startswith("_")} == own
    files = len(ours) + 1  # with the worker's own file
    assert files - len(packages) <= 45, sorted({*ours} - {*packages})
    assert files <= 60, ours  # with the packages, whose __init__ says what their folder holds


def test_a_metric_imports_its_contract() -> None:
    """PSNR needs the contract of metrics and what a measuring protocol does to images."""
    code = "import sys, vqbench.metrics.psnr; print(*(name for name in sys.modules if name.startswith('vqbench')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) <= 8, done.stdout
