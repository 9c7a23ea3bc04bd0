"""DISTS is that of its package; values of the package are kept here, and computed anew where it is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.measured_batches import CPU, batch_of, colour, context, grey, metric
from vqbench import assets
from vqbench.errors import RunError
from vqbench.metric import Batch
from vqbench.networks import texture
from vqbench.networks.compat import ensure_torchvision
from vqbench.protocol import measuring

# `DISTS_pytorch.DISTS` 0.1 in float64, of three images and their reconstructions, as test_dists_equals_its_package
# computes it. In float32 its covariances, E[x y] - E[x] E[y], lose digits: 1.6e-5 of the third image in colour.
PACKAGE = {colour: [0.1590627, 0.2426826, 0.2449680], grey: [0.1665730, 0.1499324, 0.1657374]}
NEAR = 1e-6

Images = Callable[[int], Tensor]


@pytest.mark.parametrize("images", PACKAGE)
def test_dists_has_the_values_of_its_package(images: Images, weights: None) -> None:
    """Per image, on colour and on grey, DISTS is what the package returned, to 1e-6, in pieces as in one."""
    batch = batch_of(images(3))
    expected = torch.tensor(PACKAGE[images], dtype=torch.float64)
    torch.testing.assert_close(metric("dists").update(batch), expected, rtol=0, atol=NEAR)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("vqbench.metrics.dists.PIXELS", 2 * 32 * 32)
        torch.testing.assert_close(metric("dists").update(batch), expected, rtol=0, atol=NEAR)


@pytest.mark.slow
@pytest.mark.parametrize("images", PACKAGE)
def test_dists_equals_its_package(images: Images, weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package itself, given torchvision's VGG16 with the trunk that vqbench has, returns the same values."""
    net = package(monkeypatch).double()
    batch = batch_of(images(3))
    expected = net(*(each.expand(-1, 3, -1, -1).double() for each in (batch.originals, batch.reconstructions)))
    torch.testing.assert_close(expected, torch.tensor(PACKAGE[images], dtype=torch.float64), rtol=0, atol=NEAR)
    torch.testing.assert_close(metric("dists").update(batch), expected, rtol=0, atol=NEAR)


def package(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return `DISTS_pytorch.DISTS` with its weights, and a trunk that is not downloaded."""
    ensure_torchvision()
    module = pytest.importorskip("DISTS_pytorch.DISTS_pt", reason="dists-pytorch is not installed; tox -e other-tools")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trunk = module.models.vgg16(weights=None)
    stored = assets.tensors("vgg16_lpips")
    trunk.features.load_state_dict({name.removeprefix("features."): value for name, value in stored.items()})
    monkeypatch.setattr(module.models, "vgg16", lambda pretrained: trunk)
    net = module.DISTS(load_weights=False)
    for name, value in assets.tensors("dists").items():
        getattr(net, name).data = value
    return net


def test_equal_images_have_no_distance(weights: None) -> None:
    """An image and itself have a distance of 0, and a worse reconstruction has a larger one."""
    batch = batch_of(colour(2))
    same = Batch(batch.originals, batch.originals, batch.codes, batch.index)
    assert metric("dists").update(same).abs().max() < 1e-6
    worse = Batch(batch.originals, (batch.reconstructions + 0.3).clamp(0, 1), batch.codes, batch.index)
    assert (metric("dists").update(worse) > metric("dists").update(batch)).all()


def test_texture_has_the_published_weights(weights: None) -> None:
    """All weights of channels sum to 1, none is negative, and the pooling keeps a constant."""
    net = texture.network(CPU)
    alpha, beta = net.get_buffer("alpha"), net.get_buffer("beta")
    assert len(alpha) == len(beta) == sum(texture.CHANNELS)
    assert float(alpha.sum() + beta.sum()) == pytest.approx(1)
    assert min(alpha.min(), beta.min()) >= 0
    pooled = net.pooled(torch.full((1, 2, 8, 8), 3.0))
    torch.testing.assert_close(pooled[:, :, 1:, 1:], torch.full((1, 2, 3, 3), 3.0))


def test_small_images_are_refused(weights: None) -> None:
    """Images below 16 pixels are an error that says so, and planning knows the limit."""
    small = torch.zeros(1, 3, 12, 20)
    with pytest.raises(RunError, match="at least 16x16 pixels, these are 12x20"):
        metric("dists", context()).update(Batch(small, small, None, torch.arange(1)))
    assert type(metric("dists")).smallest(measuring("clean")) == 16
