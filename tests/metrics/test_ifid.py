"""Interpolated FID: between each image and its nearest neighbour."""

from __future__ import annotations

import math

import pytest
import torch

from tests.support.measured_batches import cheap_distance, cheap_features
from tests.support.tiny_models import TestImages, autoencoder, greys
from vqbench.errors import RunError
from vqbench.evaluation.reconstructions import Evaluator
from vqbench.metrics import ifid, rfid
from vqbench.networks import inception

CPU = torch.device("cpu")


def values(*metrics: str, quantizer: str = "vq", count: int = 130) -> list[float | None]:
    """The values of an untrained model on the first images, in their order."""
    evaluator = Evaluator(TestImages(greys(count)), CPU, keep=False)  # type: ignore[arg-type]  # all that it uses
    measured = evaluator.measure(autoencoder(quantizer), {"clean": metrics})
    return [measured.values["clean"][name].value for name in metrics]


@pytest.fixture
def cheap(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features and a distance that cost nothing, in place of Inception's and of a root of matrices."""
    monkeypatch.setattr(inception, "features", cheap_features)
    monkeypatch.setattr(rfid, "frechet_distance", cheap_distance)
    monkeypatch.setattr(ifid, "frechet_distance", cheap_distance)


@pytest.mark.parametrize("quantizer", ["vq", "identity"])
def test_no_step_towards_the_neighbour_is_rfid(quantizer: str, cheap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a share of 0 it is rFID up to rounding, with and without codes; half-way it is larger."""
    plain, between = values("rfid", "ifid", quantizer=quantizer)
    assert between > plain > 0
    monkeypatch.setattr(ifid.InterpolatedFID, "share", 0.0)
    assert values("ifid", quantizer=quantizer) == [pytest.approx(plain, rel=1e-4)]


def test_the_neighbour_is_the_other_row_at_the_smallest_angle() -> None:
    """The nearest row by the angle is another one than the row itself, whatever its length, in pieces too."""
    angles = torch.rand(230, generator=torch.Generator().manual_seed(0)) * 2 * math.pi
    lengths = torch.linspace(0.1, 10, 230)
    rows = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], 1)
    apart = (angles[:, None] - angles).abs()
    apart = torch.minimum(apart, 2 * math.pi - apart).fill_diagonal_(torch.inf)
    found = ifid.nearest_by_angle(rows)
    torch.testing.assert_close(apart.gather(1, found[:, None])[:, 0], apart.min(1).values, atol=1e-3, rtol=0)


def test_slerp_goes_along_the_arc() -> None:
    """Half-way between unit vectors is their unit bisector; equal and opposite rows stay finite."""
    first = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 2.0], [1.0, 0.0]])
    second = torch.tensor([[0.0, 1.0], [1.0, 0.0], [4.0, 0.0], [-1.0, 0.0]])
    half = ifid.slerp(first, second, 0.5)
    root = math.sqrt(0.5)
    torch.testing.assert_close(half[:3], torch.tensor([[root, root], [1.0, 0.0], [4 * root, 2 * root]]))
    assert half.isfinite().all()
    torch.testing.assert_close(ifid.slerp(first, second, 0.0)[:3], first[:3])


def test_only_the_first_images_count(cheap: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where features of 60 images fit, the value of 130 images is that of the first 60."""
    monkeypatch.setattr(ifid, "MOST", 60)
    first = values("ifid", count=60)
    assert values("ifid", count=130) == first


def test_one_image_has_no_neighbour(cheap: None) -> None:
    """A single image is an error that says so."""
    with pytest.raises(RunError, match="at least 2 images"):
        values("ifid", count=1)
