"""Agreement and feature distance are those of the classifier's own package, on photographs.

The package's values are kept here, and computed anew where it is installed.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image
from torch import Tensor

from tests.support.measured_batches import CPU, batch_of, context, metric
from vqbench import assets, registry
from vqbench.errors import RunError
from vqbench.metric import Batch
from vqbench.networks import efficientnet
from vqbench.networks.feature_cache import FeatureCache
from vqbench.protocol import measuring

METRICS = ("classifier_agreement", "feature_distance")

# `efficientnet_lite_pytorch.EfficientNet` 0.1.0 in float64, of the originals of `batch_of(crops(128))`, as
# test_the_network_equals_its_package computes it: three largest logits with their classes, four features, their mean.
CLASSES = [[876, 504, 999], [967, 925, 968], [282, 285, 281]]
LOGITS = [[4.8459316, 4.8350900, 4.8164202], [9.4483285, 7.1596159, 6.2922372], [10.7183808, 9.9869793, 9.8799826]]
FEATURES = [
    [0.0234802, 0.0000000, 0.1910658, 1.1358160],
    [0.1922039, 0.0137635, 0.8558303, 0.0000000],
    [0.0051745, 0.0000000, 0.0391685, 1.4825622],
]
MEANS = [0.1932230, 0.1313024, 0.2223706]
# Of the reconstructions: the classes 432, 967 and 281; by torch.cosine_similarity of the package's features:
AGREEMENT = [0, 100, 0]
DISTANCES = [0.2176807, 0.1889758, 0.1232907]
NEAR = 2e-5  # float32 against float64


def crops(side: int) -> Tensor:
    """Crops of photographs, (3, 3, side, side) in [-1, 1]."""
    photographs = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    pixels = torch.stack([torch.from_numpy(each[40 : 40 + side, 120 : 120 + side].copy()) for each in photographs])
    return (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5


def float64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_network_has_the_values_of_its_package() -> None:
    """Classes, logits and features of three photographs are what the package returned, to 2e-5."""
    net = efficientnet.network(CPU)
    originals = batch_of(crops(128)).originals
    features = efficientnet.image_features(net, originals)
    logits = net(efficientnet.network_input(originals))
    values, classes = logits.double().topk(3)
    assert classes.tolist() == CLASSES
    assert efficientnet.predicted_classes(net, features).tolist() == [first for first, *_ in CLASSES]
    torch.testing.assert_close(values, float64(LOGITS), rtol=0, atol=NEAR)
    torch.testing.assert_close(features[:, :4].double(), float64(FEATURES), rtol=0, atol=NEAR)
    torch.testing.assert_close(features.double().mean(1), float64(MEANS), rtol=0, atol=NEAR)


@pytest.mark.slow
def test_the_network_equals_its_package() -> None:
    """The package itself, given the same weights, returns the logits and features above; ours equal all to 1e-5."""
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="it is not installed; tox -e other-tools")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    ours = assets.tensors(efficientnet.ASSET)
    names = [name for name in theirs.state_dict() if not name.endswith("num_batches_tracked")]
    named = {name: ours[name.removeprefix("_").replace("._", ".")] for name in names}
    assert len(named) == len(ours)
    theirs.load_state_dict(named, strict=False)  # only the batch counters are missing
    net = efficientnet.network(CPU)
    batch = batch_of(crops(128))
    x = efficientnet.network_input(batch.originals)
    with torch.no_grad():
        torch.testing.assert_close(net(x), theirs(x), rtol=0, atol=1e-5)
        sides = [
            theirs.double().extract_features(efficientnet.network_input(each.double())).mean((2, 3))
            for each in (batch.originals, batch.reconstructions)
        ]
        values, classes = theirs(efficientnet.network_input(batch.originals.double())).topk(3)
    assert classes.tolist() == CLASSES
    torch.testing.assert_close(values, float64(LOGITS), rtol=0, atol=1e-6)
    torch.testing.assert_close(sides[0][:, :4], float64(FEATURES), rtol=0, atol=1e-6)
    torch.testing.assert_close(1 - torch.cosine_similarity(*sides), float64(DISTANCES), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [64, 128, 256])
def test_images_are_resized_as_pillow_does(side: int) -> None:
    """The network's input is that of Pillow's bicubic resize of each channel in floats, as (level - 127) / 128."""
    images = batch_of(crops(side)).originals
    channels = (255 * images).flatten(0, 1).numpy()
    resized = [np.asarray(Image.fromarray(each).resize((224, 224), Image.Resampling.BICUBIC)) for each in channels]
    expected = (np.stack(resized).clip(0, 255).reshape(3, 3, 224, 224) - 127) / 128
    np.testing.assert_allclose(efficientnet.network_input(images), expected, atol=1e-4)  # of a level, an eightieth


def test_values_are_those_of_the_packages_features() -> None:
    """Per image, agreement and distance are those of the classes and features that the package returned."""
    batch = batch_of(crops(128))
    assert metric("classifier_agreement").update(batch).tolist() == AGREEMENT
    torch.testing.assert_close(metric("feature_distance").update(batch), float64(DISTANCES), rtol=0, atol=NEAR)


@pytest.mark.parametrize("name", METRICS)
def test_features_are_computed_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both metrics share the features of a batch, and a second run computes those of its reconstructions alone."""
    seen = []
    compute = efficientnet.image_features
    monkeypatch.setattr(efficientnet, "image_features", lambda net, x: seen.append(len(x)) or compute(net, x))
    collectors = [metric(each) for each in METRICS]
    batch = batch_of(crops(64))
    first = [each.update(batch) for each in collectors]
    assert seen == [3, 3], "originals and reconstructions"
    again = replace(batch)
    for each, values in zip(collectors, first, strict=True):
        each.start(context())
        assert torch.equal(each.update(again), values)
    assert seen == [3, 3, 3]


def test_more_compression_changes_more() -> None:
    """Over parts of photographs, JPEG copies of lower quality agree less and have features further away."""
    originals = ((torch.cat([crops(128), crops(192)[..., 64:, 64:]]) + 1) / 2 * 255).round().byte()
    found = {name: [] for name in METRICS}
    for quality in (10, 30, 75):
        copies = torch.stack([jpeg(each, quality) for each in originals])
        batch = Batch(originals.float() / 255, copies.float() / 255, None, torch.arange(len(originals)))
        for name in METRICS:
            collector = metric(name)
            collector.update(batch)
            found[name].append(collector.compute())
    assert found["classifier_agreement"] == sorted(found["classifier_agreement"])
    assert found["classifier_agreement"][0] < found["classifier_agreement"][-1]
    assert found["feature_distance"] == sorted(found["feature_distance"], reverse=True)


def jpeg(image: Tensor, quality: int) -> Tensor:
    """Return a JPEG copy of an image (3, H, W) uint8."""
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file := io.BytesIO(), "jpeg", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)).copy()).permute(2, 0, 1)


@pytest.mark.parametrize("name", METRICS)
def test_small_images_are_refused(name: str) -> None:
    """Images below 64 pixels are an error that says so, and planning knows the limit."""
    small = torch.zeros(1, 3, 63, 80)
    with pytest.raises(RunError, match="needs images of at least 64x64 pixels, these are 63x80"):
        metric(name).update(Batch(small, small, None, torch.arange(1)))
    assert type(metric(name)).smallest(measuring("clean")) == 64


def test_originals_are_kept_only_if_runs_follow() -> None:
    """Without a next run on the same images, features of the originals are not kept."""
    collector = metric("feature_distance", replace(context(), keep=False))
    collector.update(batch_of(crops(64)))
    assert isinstance(collector.originals, FeatureCache)
    assert not collector.originals._rows


def test_both_are_moved_by_the_same_settings() -> None:
    """Both see the same features: what is tested of the distance's settings holds for the agreement."""
    distance, agreement = (registry.load("metrics", name) for name in METRICS[::-1])
    assert agreement.knobs == distance.knobs
    assert agreement.features is distance.features
