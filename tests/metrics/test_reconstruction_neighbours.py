"""Precision, recall, density and coverage of reconstructions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.measured_batches import cheap_features, context, metric
from vqbench.errors import RunError
from vqbench.metric import Batch
from vqbench.metrics import _reconstruction_features
from vqbench.networks import inception

NAMES = ("rprecision", "rrecall", "rdensity", "rcoverage")


@pytest.fixture(autouse=True)
def _cheap(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inception, "features", cheap_features)


def images(count: int) -> tuple[Tensor, Tensor]:
    """Originals (count, 3, 32, 64) in [0, 1], and reconstructions: some near, some all white."""
    draw = torch.Generator().manual_seed(0)
    spread = torch.rand(count, 1, 1, 1, generator=draw)  # some images lie apart from all others
    originals = spread * torch.rand(count, 3, 32, 64, generator=draw)
    reconstructions = (originals + 0.05 * torch.randn(originals.shape, generator=draw)).clamp(0, 1)
    reconstructions[::2] = 1.0
    return originals, reconstructions


def value(name: str, originals: Tensor, reconstructions: Tensor, size: int) -> float | None:
    collector = metric(name, context())
    for places in torch.arange(len(originals)).split(size):
        collector.update(Batch(originals[places], reconstructions[places], None, places))
    return collector.compute()


def by_hand(originals: Tensor, reconstructions: Tensor) -> dict[str, float]:
    """The papers' equations, pair by pair, on the features of all images."""
    x, y = (cheap_features(torch.nn.Identity(), each, None).double() for each in (originals, reconstructions))
    across = (x[:, None] - y[None]).norm(dim=2)  # (N, N): original, reconstruction
    of_x, of_y = ((each[:, None] - each[None]).norm(dim=2).sort(1).values for each in (x, y))
    inside = across < of_x[:, 5:6]
    return {
        "rprecision": float((across <= of_x[:, 3:4]).any(0).double().mean()),
        "rrecall": float((across <= of_y[None, :, 3]).any(1).double().mean()),
        "rdensity": float(inside.double().sum() / (5 * len(y))),
        "rcoverage": float(inside.any(1).double().mean()),
    }


@pytest.mark.parametrize("name", NAMES)
def test_value_is_the_formula(name: str) -> None:
    """Each is its paper's equation with originals as references, however the images are divided into batches."""
    originals, reconstructions = images(24)
    expected = by_hand(originals, reconstructions)[name]
    assert value(name, originals, reconstructions, 24) == pytest.approx(expected)
    assert value(name, originals, reconstructions, 7) == pytest.approx(expected)
    assert 0 < expected < 3
    assert name == "rrecall" or expected != 1


def test_collapsed_reconstructions_recall_nothing() -> None:
    """Reconstructions that are all white have no originals among them, and cover none."""
    originals, _ = images(24)
    white = torch.ones_like(originals)
    assert [value(name, originals, white, 24) for name in NAMES] == [0.0] * 4


@pytest.mark.parametrize("name", NAMES)
def test_the_first_images_count(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images beyond those whose features are kept change nothing."""
    monkeypatch.setattr(_reconstruction_features, "MOST", 12)
    originals, reconstructions = images(24)
    assert value(name, originals, reconstructions, 5) == value(name, originals[:12], reconstructions[:12], 12)


@pytest.mark.parametrize("name", NAMES)
def test_too_few_images_have_no_neighbours(name: str) -> None:
    """Fewer images than neighbours is a clear error."""
    with pytest.raises(RunError, match=r"^r[PRDC]\w+ needs at least [46] images, and was given 3"):
        value(name, *images(3), 3)
