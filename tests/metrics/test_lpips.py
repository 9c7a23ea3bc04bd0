"""LPIPS is that of its package, and computes maps of originals once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.measured_batches import (
    CPU,
    batch_of,
    colour,
    context,
    grey,
    metric,
    part,
)
from vqbench import assets
from vqbench.errors import RunError
from vqbench.metric import Metric
from vqbench.protocol import measuring


@pytest.mark.parametrize("trunk", ["vgg", "alex"])
def test_lpips_equals_its_package(trunk: str, weights: None) -> None:
    """Per image, on colour and on grey, LPIPS is the package's own forward to 1e-6, and so it is in the next run."""
    from vqbench.metrics.lpips import network

    of = replace(context(), protocol=replace(measuring("clean"), lpips_net=trunk))
    for x in (colour(6), torch.nn.functional.pad(grey(6), (2, 2, 2, 2), value=-1)):
        batch = batch_of(x)
        rgb = [t.expand(-1, 3, -1, -1) for t in (batch.originals, batch.reconstructions)]
        with torch.no_grad():
            expected = network(trunk, CPU)(*rgb, normalize=True).flatten().double()
        collector = metric("lpips", of)
        for _ in range(2):
            torch.testing.assert_close(collector.update(batch), expected, rtol=0, atol=1e-6)
        assert expected.min() > 0.005


@pytest.mark.parametrize(("trunk", "asset", "count"), [("vgg", "vgg16_lpips", 26), ("alex", "alexnet_lpips", 10)])
def test_lpips_has_its_pretrained_trunk_and_heads(trunk: str, asset: str, count: int, weights: None) -> None:
    """Each tensor of the trunk is the pretrained one of its place, and the heads are the package's: none is random."""
    import lpips

    from vqbench.metrics.lpips import network

    net = network(trunk, CPU)
    stored = assets.tensors(asset, offline=True)
    trunk_state = net.net.state_dict()
    assert len(trunk_state) == len(stored) == count
    for name, tensor in trunk_state.items():
        assert torch.equal(tensor, stored["features." + name.split(".", 1)[1]])
    heads = torch.load(
        Path(lpips.__file__).parent / "weights" / "v0.1" / f"{trunk}.pth", map_location="cpu", weights_only=True
    )
    assert len(heads) == 5
    for name, tensor in heads.items():
        assert torch.equal(net.state_dict()[name], tensor)
    assert not net.training


def test_lpips_runs_its_trunk_once_on_each_original(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run takes the originals' features from memory, or computes them if they do not fit, to equal values."""
    from vqbench.metrics import lpips

    def passes(collector: Metric) -> tuple[int, Tensor]:
        seen: list[int] = []
        hook = collector.net.net.register_forward_hook(lambda net, args, out: seen.append(len(args[0])))
        collector.start(context())
        values = collector.update(batch)
        hook.remove()
        return sum(seen), values

    batch = batch_of(grey(4))
    collector = metric("lpips")
    first, second = passes(collector), passes(collector)
    monkeypatch.setattr(lpips, "MEMORY", 10)
    forgetful = metric("lpips")
    third, fourth = passes(forgetful), passes(forgetful)
    assert [count for count, _ in (first, second, third, fourth)] == [8, 4, 8, 8]
    for _, values in (second, third, fourth):
        assert torch.equal(values, first[1])


def test_lpips_holds_all_originals_or_none(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the maps outgrow the memory they are given back and no more are kept, in this run and the next."""
    from vqbench.metrics import lpips

    batch = batch_of(grey(6))
    collector = metric("lpips")
    collector.update(part(batch, 0, 2))
    monkeypatch.setattr(lpips, "MEMORY", collector._bytes * 2)
    collector.update(part(batch, 2, 4))
    assert len(collector._kept) == 2
    for begin in (4, 0, 2):
        collector.update(part(batch, begin, begin + 2))
        assert not collector._kept


def test_lpips_refuses_images_too_small_for_its_net(weights: None) -> None:
    """AlexNet has no last layer on 28 pixels, which is said in a sentence."""
    of = replace(context(), protocol=replace(measuring("clean"), lpips_net="alex"))
    with pytest.raises(RunError, match="at least 31x31 pixels, these are 28x28"):
        metric("lpips", of).update(batch_of(grey(1)))
