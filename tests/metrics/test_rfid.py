"""rFID is torch-fidelity's, and computes features of originals once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.support.fidelity import frechet_inception_distance
from tests.support.measured_batches import (
    batch_of,
    cheap_features,
    colour,
    context,
    file_of,
    metric,
    part,
)
from vqbench.errors import RunError
from vqbench.images import rounded
from vqbench.networks import inception

pytestmark = pytest.mark.integration


def test_clean_rfid_is_torch_fidelitys(weights: None, tmp_path: Path) -> None:
    """On 8 colour images the value is torch_fidelity.calculate_metrics' on the same 8-bit images, to 1e-6."""
    batch = batch_of(colour(8))
    collector = metric("rfid")
    collector.update(part(batch, 0, 5))
    collector.update(part(batch, 5, 8))

    levels = rounded(batch.originals), rounded(batch.reconstructions)
    expected = frechet_inception_distance(*levels, tmp_path)
    assert expected > 1
    assert collector.compute() == pytest.approx(expected, rel=1e-6)
    assert file_of(context()).exists()  # for the next process


def test_fewer_than_two_images_have_no_rfid(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """One image has no covariance: an error, no number."""
    monkeypatch.setattr(inception, "features", cheap_features)
    collector = metric("rfid")
    collector.update(batch_of(colour(1)))
    with pytest.raises(RunError, match="at least 2 images"):
        collector.compute()


def test_rfid_and_kid_compute_features_once(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both metrics of one batch need one pass of originals and one of reconstructions, and keep none in memory."""
    passed: list[int] = []

    def counting(net: nn.Module, x: Tensor, resize: int | None, scale: None) -> Tensor:
        passed.append(len(x))
        return cheap_features(net, x, resize)

    monkeypatch.setattr(inception, "features", counting)
    batch = batch_of(colour(2))
    for name in ("rfid", "kid"):
        collector = metric(name, replace(context(), dataset="", keep=False))
        collector.update(batch)
        assert not collector.originals._rows
    assert passed == [2, 2]


def test_features_of_originals_are_computed_once(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next run, and the next process, put reconstructions alone through the network, to the same sums."""
    batch = batch_of(colour(2))
    passed: list[int] = []
    honest = inception.features
    monkeypatch.setattr(inception, "features", lambda net, x, *how: (passed.append(len(x)), honest(net, x, *how))[1])
    states = []
    this = metric("rfid")
    for collector in (lambda: this, lambda: this, lambda: metric("rfid")):  # the last as in a new process
        each = collector()
        each.start(context())
        each.update(replace(batch))  # another batch of the same images
        each.originals.save()
        states.append(each.state)
    assert passed == [2, 2, 2, 2]  # originals and reconstructions, then reconstructions, and again
    for state in states[1:]:
        for key in state:
            assert torch.equal(state[key], states[0][key])


def test_the_next_process_finds_the_features(weights: None, tmp_path: Path) -> None:
    """Two processes end with equal sums, to the last bit, and the second puts the reconstructions alone through."""
    code = f"""
import hashlib, pathlib, torch
from vqbench import assets, registry
from vqbench.metric import Batch, Context
from vqbench.networks import inception
from vqbench.protocol import measuring

assets.cache_folder = lambda: pathlib.Path({str(tmp_path)!r})
passed, features = [], inception.features
inception.features = lambda net, x, *how: (passed.append(len(x)), features(net, x, *how))[1]
collector = registry.load("metrics", "rfid")(Context(measuring("official"), "0" * 64, None, None, torch.device("cpu")))
x, y = torch.rand(2, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
collector.update(Batch(x, y, None, torch.arange(2)))
collector.originals.save()
sums = b"".join(collector.state[key].numpy().tobytes() for key in sorted(collector.state))
print(passed, hashlib.sha256(sums).hexdigest())
"""
    run = [sys.executable, "-c", code]
    first, second = (subprocess.run(run, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert first.startswith("[2, 2] ")
    assert second == first.replace("[2, 2]", "[2]")
