"""Tests that need a GPU, and checks that no other test uses one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests import conftest
from tests.support.captured_updates import REFUSED, different, trained
from tests.support.tiny_suite import assert_same, command, write
from vqbench import registry
from vqbench.system import determinism

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here, and this was asked for by -m gpu")


@pytest.mark.gpu
@needs_gpu
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """Under --deterministic, a run on a GPU that is stopped and resumed has the weights of one that never stopped."""
    small = ("--deterministic", "--device", "cuda", "-q")
    lines = [command("run", write(tmp_path, "vq, cvq", epochs=4), "--store", tmp_path / name, *small) for name in "ab"]
    subprocess.run(lines[0], check=True)
    often = os.environ | {"VQBENCH_CHECKPOINT_EVERY": "0"}
    for _ in range(100):
        code = subprocess.run([*lines[1], "--time-limit", "8s"], env=often, check=False).returncode
        if code == 0:
            break
        assert code == 3
    assert_same(tmp_path / "a", tmp_path / "b")


@pytest.mark.gpu
@needs_gpu
def test_every_quantizer_keeps_the_contract_on_a_gpu() -> None:
    """`check --only gpu` of all quantizers that ship has no FAIL."""
    subprocess.run(command("check", "--all", "--only", "gpu"), check=True)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Operations repeat their bits, where they can; afterwards all is as it was."""
    monkeypatch.setenv(determinism.CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.usefixtures("deterministic")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(registry.names("quantizers")))
def test_captured_updates_give_the_weights_of_single_ones(name: str) -> None:
    """Updates replayed as a CUDA graph end with the bits of the same updates, computed one by one."""
    cls = registry.load("quantizers", name)
    captured, capture = trained(cls)
    assert (capture.replayed > 0) == (name not in REFUSED), capture.refusal
    assert not different(trained(cls, "single")[0], captured)


def configured(monkeypatch: pytest.MonkeyPatch, selected: str) -> tuple[list[Any], str | None]:
    """Which of two tests, one marked gpu, are left under ``-m selected``, and the GPUs that they see."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    gone: list[Any] = []
    hook = SimpleNamespace(pytest_deselected=lambda items: gone.extend(items))
    config: Any = SimpleNamespace(option=SimpleNamespace(markexpr=selected), hook=hook)
    items: Any = [SimpleNamespace(get_closest_marker=lambda name, marked=marked: marked) for marked in (None, "gpu")]
    conftest.pytest_configure(config)
    conftest.pytest_collection_modifyitems(config, items)
    assert len(items) + len(gone) == 2
    return [item.get_closest_marker("gpu") for item in items], os.environ["CUDA_VISIBLE_DEVICES"]


def test_tests_leave_gpus_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process and those that it starts see no GPU, however tests are selected; with -m gpu they do."""
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    shown = [sys.executable, "-c", "import os; print(repr(os.environ['CUDA_VISIBLE_DEVICES']))"]
    assert subprocess.check_output(shown, text=True) == "''\n"
    for selected in ("", "slow", "not integration and not slow and not rfid"):
        assert configured(monkeypatch, selected) == ([None], "")
    assert configured(monkeypatch, "gpu") == ([None, "gpu"], "0")
