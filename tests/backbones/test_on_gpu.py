"""Backbones on a pretended GPU: a training step waits for nothing, and gives the values of the CPU."""

from __future__ import annotations

import pytest
import torch

from tests.support.pretended_gpu import PretendedGpu
from vqbench import registry
from vqbench.conformance.backbones.case import BackboneCase, reconstruct, train_step

NAMES = sorted(set(registry.names("backbones")) - {"pretrained"})  # which is a backbone with weights from a file


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_backbone_stays_on_its_device(name: str) -> None:
    """Steps, then encoding and decoding, copy nothing that blocks, and end where those of the CPU do."""
    cls = registry.load("backbones", name)
    case = BackboneCase(name, cls, BackboneCase.usual_args(cls))
    on_cpu, x = case.build(), case.images(case.build())
    expected = [float(train_step(on_cpu, x, seed)) for seed in range(2)]
    images = reconstruct(on_cpu, x)["images"]
    with PretendedGpu() as gpu:
        backbone, given = case.build().to("cuda"), x.to("cuda")
        with gpu.watched():
            losses = [train_step(backbone, given, seed) for seed in range(2)]
            decoded = reconstruct(backbone, given)["images"]
        assert [loss.item() for loss in losses] == expected
        assert torch.equal(decoded.cpu(), images)
    assert sum(gpu.launches.values()) > 5  # space_to_depth has no network
    assert not [str(finding) for finding in gpu.findings]
