"""Metrics on a pretended GPU: no operation has tensors of both devices, and values are those of the CPU."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch

from tests.support.pretended_gpu import PretendedGpu
from vqbench import registry
from vqbench.conformance.metrics.case import MetricCase
from vqbench.metric import Batch, Context

OF_SAMPLES = sorted(name for name in registry.names("metrics") if registry.load("metrics", name).of_samples)
OF_IMAGES = sorted(set(registry.names("metrics")) - set(OF_SAMPLES))


def moved(values: Any) -> Any:
    """Return a dataclass with its tensors and models on the GPU; the index stays, as in evaluation."""
    changed = {}
    for field in fields(values):
        value = getattr(values, field.name)
        if field.name == "latents" and value is not None:
            changed[field.name] = moved(value)
        elif field.name != "index" and isinstance(value, torch.Tensor | torch.nn.Module):
            changed[field.name] = value.to("cuda")
    return replace(values, **changed)


@dataclass(frozen=True)
class GpuCase(MetricCase):
    """A metric on ``cuda``."""

    def batch(self, *args: Any, **kwargs: Any) -> Batch:
        batch: Batch = moved(super().batch(*args, **kwargs))
        return batch

    def context(self, batch: Batch, quantized: bool = True) -> Context:
        context: Context = moved(super().context(replace(batch, originals=batch.originals.cpu()), quantized))
        return replace(context, device=torch.device("cuda", 0))


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_IMAGES)
def test_a_metric_stays_on_its_device(name: str) -> None:
    """The value of a batch that is on the device is the CPU's."""
    plain = MetricCase(name, registry.load("metrics", name))
    if missing := plain.missing():
        pytest.skip(missing)
    expected = plain.value(plain.batch())
    with PretendedGpu() as gpu, gpu.watched():
        case = GpuCase(name, registry.load("metrics", name))
        value = case.value(case.batch())
    assert value == expected
    assert not [str(finding) for finding in gpu.findings if finding.kind == "both devices"]


@pytest.mark.slow
@pytest.mark.parametrize("name", OF_SAMPLES)
def test_a_metric_of_samples_stays_on_its_device(name: str) -> None:
    """Given samples and features on the CPU, as in evaluation, the value is that of a run on the CPU."""
    cls = registry.load("metrics", name)
    plain = MetricCase(name, cls)
    expected = plain.measured(plain.samples())
    with PretendedGpu() as gpu, gpu.watched():
        value = GpuCase(name, cls).measured(plain.samples())
    assert value == expected
    assert not [str(finding) for finding in gpu.findings if finding.kind == "both devices"]
