"""Platforms other than the tested ones: a clear refusal or a run, never a wrong number."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vqbench.cli import app

ROOT = Path(__file__).parents[1]

# What Windows lacks is taken away after other packages are loaded, which look at the platform themselves.
WINDOWS = """
import filelock, pandas, platformdirs, signal, sys, torch, typer
sys.platform = "win32"
sys.modules["fcntl"] = sys.modules["resource"] = None
del signal.SIGUSR1
import vqbench
from vqbench.cli.app import run_words
print(vqbench.create_quantizer("cvq", num_codes=8, dim=4)(torch.randn(2, 4, 3, 3)).codes.shape)
print(run_words(["table", "quick", "--store", "results"]))
print(run_words(["run", "quick", "--store", sys.argv[1]]))
"""


@pytest.mark.integration
def test_windows_reads_and_refuses_to_train(tmp_path: Path) -> None:
    """Without what Windows lacks, quantizers and tables work; `run` is refused with one sentence and exit code 2."""
    result = subprocess.run(
        [sys.executable, "-c", WINDOWS, str(tmp_path / "runs")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = result.stdout.splitlines()
    assert lines[0] == "torch.Size([2, 3, 3, 1])", result.stderr
    assert lines[-2:] == ["0", "2"]
    assert result.stderr == "vqbench: vqbench trains and evaluates on Linux and macOS; on Windows, run it in WSL\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["mps", "xpu"])
def test_other_devices_are_refused(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A device that is neither a CPU nor CUDA's is refused before anything is written."""
    words = ["run", "quick", "--device", name, "--store", str(tmp_path / "runs"), "--jobs", "0", "--quiet"]
    assert app.run_words(words) == 2
    assert f"device '{name}' is not supported; known: auto, cpu, cuda" in capsys.readouterr().err
    assert not list(tmp_path.rglob("record.json"))
