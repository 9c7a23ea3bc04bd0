"""`vqbench.evaluate`: values of arrays, their conditions, and arrays that cannot be evaluated."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

import vqbench
from vqbench import protocol, registry
from vqbench.errors import RunError, UsageError
from vqbench.evaluation.image_pairs import ImagePairs, PairSettings, evaluate_pairs
from vqbench.images import as_measured, to_unit
from vqbench.metric import Batch, Context
from vqbench.networks import feature_cache

CPU = torch.device("cpu")


def images(count: int = 230, channels: int = 3, size: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, channels, size, size), np.uint8)


def near(originals: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).integers(-20, 21, originals.shape)
    return (originals + noise).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("under", ["clean", "official"])
def test_values_are_those_of_the_metrics_alone(under: str) -> None:
    """Totals and values per image equal those of each metric's class, given all images as prepared at once."""
    originals = images()
    reconstructions = near(originals)
    evaluation = vqbench.evaluate(originals, reconstructions, protocol=under, metrics=["l1", "psnr", "ssim"])
    measured = protocol.measuring(under)
    x, y = (as_measured(to_unit(torch.from_numpy(each)), measured) for each in (originals, reconstructions))
    for name in ("l1", "psnr", "ssim"):
        metric = registry.load("metrics", name)(Context(measured, "", None, None, CPU))
        each = metric.update(Batch(x, y, None, torch.arange(len(x))))
        assert each is not None
        assert evaluation[name] == pytest.approx(metric.compute(), rel=1e-12)
        np.testing.assert_array_equal(evaluation.per_image[name], each.numpy())
    assert evaluation.values.protocol.unique() == [under]
    assert evaluation.values.images.unique() == [230]
    assert evaluation.values.unit.tolist() == ["", "dB", ""]


def test_psnr_is_scikit_images() -> None:
    """Under clean, PSNR per image is scikit-image's."""
    originals = images(5)
    found = vqbench.evaluate(originals, near(originals), metrics=["psnr"]).per_image.psnr
    expected = [peak_signal_noise_ratio(*pair, data_range=255) for pair in zip(originals, near(originals), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("under", ["clean", "official"])
def test_floats_and_levels_are_the_same_images(under: str) -> None:
    """Arrays and tensors, levels and level / 255 in any mixture give equal values; no image differs from itself."""
    originals = images(30)
    levels = near(originals)
    floats = torch.from_numpy(levels).float() / 255
    values = [
        vqbench.evaluate(a, b, protocol=under, metrics=["l1", "ssim"]).values.value.tolist()
        for a in (originals, torch.from_numpy(originals), torch.from_numpy(originals).float() / 255)
        for b in (levels, floats, floats.numpy(), floats.double())
    ]
    assert all(each == values[0] for each in values)
    itself = vqbench.evaluate(originals, originals / 255, protocol=under, metrics=["l1", "psnr"])
    assert itself["l1"] == 0
    assert itself["psnr"] == float("inf")
    assert "PSNR is infinite: some images are reconstructed without any error." in itself.table()


def test_both_protocols_in_one_pass() -> None:
    """Two protocols give a row and a column each, and a value is then chosen by its protocol."""
    originals = images(4)
    evaluation = vqbench.evaluate(originals, near(originals), protocol=["official", "clean"], metrics=["l1"])
    assert evaluation.values.protocol.tolist() == ["official", "clean"]
    assert evaluation.per_image.groupby("protocol").image.count().to_dict() == {"official": 4, "clean": 4}
    assert "official   clean" in evaluation.table() or "official    clean" in evaluation.table()
    with pytest.raises(UsageError, match="under official and clean"):
        evaluation["l1"]
    with pytest.raises(UsageError, match="'l2' was not evaluated; did you mean 'l1'"):
        evaluation["l2"]


def test_codes_give_usage_perplexity_and_bits() -> None:
    """Maps, deep maps and sequences of codes are counted; by default with every metric that needs no weights."""
    originals = images(4)
    codes = np.arange(4 * 16).reshape(4, 4, 4) % 10
    found = vqbench.evaluate(originals, originals, codes, 20)
    assert found.values.metric.tolist() == ["l1", "psnr", "ssim", "bits", "entropy", "perplexity", "usage"]
    assert found["usage"] == 50
    assert found["bits"] == pytest.approx(16 * np.log2(20))
    assert vqbench.evaluate(originals, originals, codes.reshape(4, 16).astype(np.uint16), 20)["usage"] == 50
    deep = np.stack([codes, np.zeros_like(codes)], -1)
    assert vqbench.evaluate(originals, originals, deep, 20)["usage"] == pytest.approx((50 + 5) / 2)


LEVELS = images(3)
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("3 originals, but 2 reconstructions: give one for each", (LEVELS, LEVELS[:2]), {}),
    ("channels come second; np.transpose", (LEVELS.transpose(0, 2, 3, 1), LEVELS), {}),
    ("16x16 with 1 channel, the originals 16x16 with 3", (LEVELS, LEVELS[:, :1]), {}),
    ("type int64: give uint8", (LEVELS.astype(int), LEVELS), {}),
    ("originals reach from -1 to 1; .* converts from", (LEVELS / 127.5 - 1, LEVELS), {}),
    ("reconstructions reach from 0 to 255; .* divide levels", (LEVELS, LEVELS / 1.0), {}),
    ("reconstructions reach from .* to 1.1; .*clamp", (LEVELS, LEVELS / 255 * 1.1), {}),
    ("contain NaN", (LEVELS, np.full(LEVELS.shape, np.nan)), {}),
    ("give a batch", (LEVELS[0], LEVELS[0]), {}),
    ("there is no image", (LEVELS[:0], LEVELS[:0]), {}),
    ("not an array of numbers", ([["a"]], LEVELS), {}),
    ("`codes` and `num_codes` together", (LEVELS, LEVELS, np.zeros((3, 2, 2), int)), {}),
    ("num_codes=1: give a whole number, at least 2", (LEVELS, LEVELS, np.zeros((3, 2, 2), int), 1), {}),
    ("codes run from 0 to 7, but those of 7 are 0 to 6", (LEVELS, LEVELS, np.arange(12).reshape(3, 4) % 8, 7), {}),
    ("codes of type float64", (LEVELS, LEVELS, np.zeros((3, 2, 2)), 7), {}),
    ("3 originals, but 2 codes", (LEVELS, LEVELS, np.zeros((2, 2, 2), int), 7), {}),
    ("give .*or \\(N, tokens\\)", (LEVELS, LEVELS, np.zeros(3, int), 7), {}),
    ("unknown metric 'ssm'; did you mean 'ssim'", (LEVELS, LEVELS), {"metrics": ["ssm"]}),
    ("'fid' is of generated images", (LEVELS, LEVELS), {"metrics": ["fid"]}),
    ("'usage' counts codes", (LEVELS, LEVELS), {"metrics": ["usage"]}),
    ("unknown measuring protocol 'cleen'; did you mean 'clean'", (LEVELS, LEVELS), {"protocol": "cleen"}),
    ("nothing to evaluate", (LEVELS, LEVELS), {"metrics": []}),
    ("unknown device", (LEVELS, LEVELS), {"device": "tpu0"}),
    ("unknown device None", (LEVELS, LEVELS), {"device": None}),
    (r"shape \(3, 0\): there is no code", (LEVELS, LEVELS, np.zeros((3, 0), int), 7), {}),
    ("metrics=5: give a text, or several", (LEVELS, LEVELS), {"metrics": 5}),
    ("5: not an array of numbers; give an array", (5, LEVELS), {}),
    ("sparse, meta, nested or quantized", (torch.zeros(3, 3, 16, 16).to_sparse(), LEVELS), {}),
]


@pytest.mark.parametrize(("sentence", "given", "named"), WRONG, ids=[each[0][:30] for each in WRONG])
def test_what_cannot_be_evaluated_is_one_sentence(sentence: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Wrong arrays and names are refused with what is wrong and what to do."""
    with pytest.raises(UsageError, match=sentence) as refused:
        vqbench.evaluate(*given, **named)
    assert "\n" not in str(refused.value)


def test_too_few_or_small_images_are_refused_before_weights_are_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    """rFID of one image and SSIM of tiny images end in a sentence, and no network is fetched for them."""
    monkeypatch.setattr("vqbench.execution.preparation.fetch", None)
    with pytest.raises(RunError, match="rFID needs at least 2 images, and was given 1"):
        vqbench.evaluate(LEVELS[:1], LEVELS[:1], metrics=["rfid"])
    with pytest.raises(RunError, match=r"SSIM needs images of at least 11x11 pixels, these are 8x8; leave it out"):
        vqbench.evaluate(LEVELS[..., :8, :8], LEVELS[..., :8, :8], metrics=["ssim"])


def test_a_value_of_few_images_says_that_it_is_not_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the images that a metric is ranked from, its value comes with a note."""
    monkeypatch.setattr(registry.load("metrics", "l1"), "few", 2048)
    evaluation = vqbench.evaluate(LEVELS, LEVELS, metrics=["l1"])
    assert evaluation.values.note[0] == "l1 is not ranked: it needs at least 2,048 images, here 3."
    assert evaluation.table().endswith(evaluation.values.note[0])


def test_a_stream_equals_its_arrays() -> None:
    """Batches of odd sizes give the values of all images at once, and only one is read at a time."""
    originals, codes = torch.from_numpy(images(217)), torch.arange(217 * 4).view(217, 2, 2, 1) % 9
    reconstructions = torch.from_numpy(near(originals.numpy()))
    settings = PairSettings(["official"], ["l1", "ssim", "usage"], num_codes=9)
    sizes = [1, 100, 16, 100]
    seen: list[int] = []

    def stream() -> Any:
        for part in zip(*(each.split(sizes) for each in (originals, reconstructions, codes)), strict=True):
            seen.append(len(part[0]))
            yield ImagePairs(*part)

    parts = evaluate_pairs(stream(), settings, lambda done: seen.append(-done))
    whole = evaluate_pairs([ImagePairs(originals, reconstructions, codes)], settings)
    assert seen == [1, -1, 100, -101, 16, -117, 100, -217]
    for name, value in whole.values["official"].items():
        assert parts.values["official"][name].value == pytest.approx(value.value, rel=1e-12)
        assert value.images == 217
    np.testing.assert_allclose(parts.images["official/l1"], whole.images["official/l1"], rtol=1e-12)


def test_a_stream_that_changes_is_refused() -> None:
    """Another shape, depth or lack of codes within a stream is an error with its position."""
    x, codes = torch.from_numpy(LEVELS), torch.zeros(3, 2, 2, 1, dtype=torch.int64)
    settings = PairSettings(["clean"], ["l1"], num_codes=4)
    first = ImagePairs(x, x, codes)
    others = {
        "from image 3 on are 8x8 with 3 channels": ImagePairs(x[..., :8, :8], x[..., :8, :8], codes),
        "some have none": ImagePairs(x, x),
        "depth of 2": ImagePairs(x, x, codes.expand(-1, -1, -1, 2)),
        "originals from image 3 on reach": ImagePairs(x.float(), x, codes),
    }
    for sentence, second in others.items():
        with pytest.raises(UsageError, match=sentence):
            evaluate_pairs([first, second], settings)
    with pytest.raises(UsageError, match="no image"):
        evaluate_pairs([], settings)


def test_features_of_arrays_are_not_kept_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features of images without a digest have no file, so that no other images are taken for them."""
    monkeypatch.setattr(feature_cache.inception, "network", None)  # would be needed for a name
    assert feature_cache.features_path(protocol.MEASURE["clean"], "", CPU) is None
    cached = feature_cache.FeatureCache(None)
    cached.get([0], lambda places: [torch.ones(2048) for _ in places])
    cached.save()
    assert torch.equal(cached.get([0], lambda places: []), torch.ones(1, 2048))
