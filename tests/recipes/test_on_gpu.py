"""Recipes on a pretended GPU: an update waits for nothing, and a resumed training is that of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.gpu_recipe import GpuRecipeCase, case, watched_calls
from tests.support.pretended_gpu import PretendedGpu
from vqbench import registry
from vqbench.conformance.recipes.case import RecipeCase
from vqbench.training.loop import TrainingLoop

NAMES = sorted(registry.names("recipes"))


@pytest.mark.parametrize("name", NAMES)
def test_an_update_stays_on_its_device(name: str, tmp_path: Path) -> None:
    """Updates, from the batch's images to the optimizer, wait for nothing and copy nothing that blocks."""
    with PretendedGpu() as gpu, watched_calls(gpu, TrainingLoop, "_update"):
        case(GpuRecipeCase, name).train(tmp_path)
    assert sum(gpu.launches.values()) > 100
    assert not [f"{number} x {finding}" for finding, number in gpu.findings.items()]


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_training_is_that_of_the_cpu(name: str, tmp_path: Path) -> None:
    """Stopped after each update and resumed on the device, a training ends as one on the CPU that never stopped."""
    whole = case(RecipeCase, name).train(tmp_path / "cpu")
    with PretendedGpu():
        parts = case(GpuRecipeCase, name).train(tmp_path / "gpu", stop=lambda update: True)
        same = {key: value.cpu() if isinstance(value, torch.Tensor) else value for key, value in parts.values().items()}
    assert parts.stops > 1
    different = [
        key
        for key, value in whole.values().items()
        if not (torch.equal(value, same[key]) if isinstance(value, torch.Tensor) else value == same[key])
    ]
    assert not different
