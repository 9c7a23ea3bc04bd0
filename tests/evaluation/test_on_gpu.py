"""Generators on a pretended GPU: sampling and coding wait for nothing, and give the images and bits of the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.gpu_recipe import GpuRecipeCase, case
from tests.support.pretended_gpu import PretendedGpu
from vqbench import registry
from vqbench.conformance.recipes.case import CheckedImages, RecipeCase
from vqbench.evaluation.samples import SampleEvaluator
from vqbench.store.value_name import Sampling
from vqbench.training import checkpoint
from vqbench.training.latents.generator import Generator

pytestmark = pytest.mark.slow
RECIPES = sorted(name for name in registry.names("recipes") if registry.load("recipes", name).second_stage)
FEWER = {"diffusion": {"steps": 10}}  # steps of DDIM
SEEDS = [3, 1, 4]


def trained(folder: Path, kind: type[RecipeCase], name: str) -> Generator:
    """Train a second stage, stopped after its second update and resumed, and return its generator."""
    second = case(kind, name)
    trace = second.train(folder, stop=lambda update: update == 2)
    assert trace.stops == 1
    task = second.task(folder)
    generator: Generator = second.build().generator(task.model, CheckedImages.channels, CheckedImages.size)
    generator.load_state_dict(checkpoint.read(folder / "best.pt"))
    return generator.eval()


def settings(name: str) -> dict[str, Any]:
    return {**registry.load("recipes", name).sampler, **FEWER.get(name, {})}


@pytest.mark.parametrize("name", RECIPES)
def test_a_generator_samples_on_its_device(name: str, tmp_path: Path) -> None:
    """Trained and resumed there, a generator samples and codes images without waiting, and they are the CPU's."""
    on_cpu = trained(tmp_path / "cpu", RecipeCase, name)
    expected = on_cpu.sample(SEEDS, **settings(name))
    bits = on_cpu.code_bits(expected)
    with PretendedGpu() as gpu:
        generator = trained(tmp_path / "gpu", GpuRecipeCase, name)
        x = expected.to("cuda")
        with gpu.watched():
            images = generator.sample(SEEDS, **settings(name))
            coded = generator.code_bits(x)
        assert images.device.type == "cuda"
        assert torch.equal(images.cpu(), expected)
        assert (coded is None) == (bits is None)
        if coded is not None and bits is not None:
            assert torch.equal(coded.cpu(), bits)
    assert sum(gpu.launches.values()) > 100
    assert not [f"{number} x {finding}" for finding, number in gpu.findings.items()]


@pytest.mark.usefixtures("fours")
@pytest.mark.parametrize("name", RECIPES)
def test_samples_are_measured_on_their_device(name: str, tmp_path: Path) -> None:
    """Sampled, measured and drawn there, samples have the values of the CPU, and no operation has both devices."""
    sampling = Sampling(10, "test", settings=settings(name))
    metrics = ["copies", "prior_bits"] if registry.load("recipes", name).likelihood else ["copies"]
    wanted = {f"clean:{sampling.name}": metrics}

    def measure(kind: type[RecipeCase], device: str) -> Any:
        folder = tmp_path / device
        generator = trained(folder, kind, name)
        evaluator = SampleEvaluator(CheckedImages(), torch.device(device))
        seeds = case(kind, name).task(folder).seeds
        return evaluator.measure(generator, seeds, folder, wanted, lambda *_: None, None, anew=True).values

    expected = measure(RecipeCase, "cpu")
    with PretendedGpu() as gpu, gpu.watched():
        assert measure(GpuRecipeCase, "cuda") == expected
    assert not [str(finding) for finding in gpu.findings if finding.kind == "both devices"]
