"""The switch ``--deterministic``: set in every process that trains, recorded, and not part of the key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.distributed.test_devices import records
from tests.support.tiny_suite import vqbench, write
from vqbench import registry
from vqbench.execution.messages import RunSettings
from vqbench.execution.rank_worker import RankWorker
from vqbench.execution.runner import SilentListener, describe
from vqbench.functional import anchor_sampling
from vqbench.system import determinism
from vqbench.training.engine import Engine

# A quantizer that fails unless its process computes deterministically.
DEMANDING = '''
import os

import torch

from vqbench.quantizers.vq import VQ


class Demanding(VQ):
    """VQ that looks at how it is computed."""

    paper = "none"

    def forward(self, z):
        assert torch.are_deterministic_algorithms_enabled() and torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark and os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        return super().forward(z)
'''


@pytest.fixture
def torch_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The test may make torch deterministic, which is afterwards as it was."""
    monkeypatch.setenv(determinism.CUBLAS, "")
    monkeypatch.delenv(determinism.CUBLAS)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.backends.cudnn.deterministic = before[1]


@pytest.mark.usefixtures("torch_restored")
@pytest.mark.parametrize(
    "where",
    [("--jobs", "0"), pytest.param(("--devices", "2"), marks=pytest.mark.slow)],
    ids=["in this process", "two ranks of a worker"],
)
def test_what_trains_is_deterministic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: tuple[str, str]) -> None:
    """Every process that trains computes under the switch; the record says so, and the key is what it is without."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    (tmp_path / "demanding.py").write_text(DEMANDING)
    words = (write(tmp_path, "demanding"), "--store", tmp_path / "runs", "--plugin", tmp_path / "demanding.py")
    small = ("--subset", "1100", "--test-images", "50")
    assert vqbench("run", *words, *small, "-q", *where, "--deterministic") == 0
    (record,) = records(tmp_path / "runs").values()
    assert record["made"]["deterministic"] is record["made"]["measured"][0]["deterministic"] is True
    assert "deterministic" not in json.dumps(record["run"]), "of which the key is made"
    registry.sources.cache_clear()


@pytest.mark.usefixtures("torch_restored")
def test_a_rank_sets_torch() -> None:
    """A rank whose settings demand it sets torch's switches and leaves the user's workspace."""
    settings = RunSettings("cpu", deterministic=True)
    RankWorker(settings, SilentListener(), lambda: False)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    assert os.environ[determinism.CUBLAS] == ":4096:8"
    os.environ[determinism.CUBLAS] = ":16:8"
    RankWorker(settings, SilentListener(), lambda: False)
    assert os.environ[determinism.CUBLAS] == ":16:8"


def test_without_the_switch_torch_is_left_alone() -> None:
    """A library user's own choice stays."""
    torch.use_deterministic_algorithms(True)
    try:
        RankWorker(RunSettings("cpu"), SilentListener(), lambda: False)
        Engine("cpu")
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_an_operation_that_cannot_is_named() -> None:
    """A run that needs an operation without a deterministic implementation fails with its name and what to do."""
    message = "cumsum_cuda_kernel does not have a deterministic implementation, but you set 'torch.use_deterministic"
    assert describe(RuntimeError(message)) == (
        "--deterministic: cumsum_cuda_kernel has no deterministic implementation on this device; leave the option out"
    )


@pytest.mark.parametrize("size", [1, 2, 7, 64, 1000])
def test_cumulative_sums_without_a_scan(size: int) -> None:
    """Cumulative sums without torch's scan, which is not deterministic on GPUs, are the same sums."""
    masses = torch.rand(3, size, dtype=torch.float64)
    torch.testing.assert_close(anchor_sampling._doubled(masses), masses.cumsum(-1))
