"""`vqbench explain --target`: settings that other code planted are found again, and nothing else is claimed."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data, metrics

from vqbench.api.explaining import ExplainOptions, explain_images
from vqbench.errors import UsageError
from vqbench.evaluation.explaining.image_explanation import searched
from vqbench.evaluation.explaining.other_tools import named_protocol
from vqbench.evaluation.explaining.settings import conditions
from vqbench.evaluation.explaining.target import Target, TargetSearch, target_plan
from vqbench.evaluation.image_pairs import PairSettings, evaluate_pairs, pairs_of
from vqbench.execution.preparation import fetch
from vqbench.measuring.explained_pairs import ExplainedPairs
from vqbench.reporting.explaining import protocol_differences

SIDE, COUNT = 96, 12


def through_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def photographs(side: int = SIDE) -> list[np.ndarray]:
    """Return tiles of colour photographs, (side, side, 3) uint8."""
    photos = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    return [photo[y : y + side, x : x + side] for photo in photos for x, y in ((0, 0), (150, 60), (250, 150))]


def write(folder: Path, images: list[np.ndarray]) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Photographs and their JPEG-30 copies, as two folders."""
    root = tmp_path_factory.mktemp("pair")
    images = photographs()
    return write(root / "a", images), write(root / "b", [through_jpeg(image, 30) for image in images])


def arrays(pair: tuple[Path, Path]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    first, second = ([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())] for folder in pair)
    return first, second


def search(
    pair: tuple[Path, Path], text: str, base: str = "clean", other: Path | None = None, pairs: bool = True
) -> TargetSearch:
    images = ExplainedPairs(*pair, other)
    plan = target_plan(Target.parse(text), conditions(named_protocol(base), images.facts), images.facts, fetch)
    return searched(plan, images, torch.device("cpu"), lambda done, total: None, pairs=pairs)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(metrics.peak_signal_noise_ratio(one / 255, other / 255, data_range=1))


def planted(name: str, originals: list[np.ndarray], others: list[np.ndarray]) -> tuple[str, float]:
    """Compute a metric in the way ``name``, by scikit-image and numpy alone."""
    pairs = list(zip(originals, others, strict=True))

    def ssim(**options: Any) -> float:
        given = {"channel_axis": 2, "data_range": 1, **options}
        return float(np.mean([metrics.structural_similarity(a / 255, b / 255, **given) for a, b in pairs]))

    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    if name == "mean error":
        error = np.mean([np.mean((a / 255 - b / 255) ** 2) for a, b in pairs])
        return "psnr", float(-10 * np.log10(error))
    if name == "grey":
        grey = [[np.asarray(Image.fromarray(each).convert("L")) for each in both] for both in pairs]
        return "psnr", float(np.mean([psnr(*both) for both in grey]))
    if name == "jpeg":
        return "psnr", float(np.mean([psnr(through_jpeg(a, 75), through_jpeg(b, 75)) for a, b in pairs]))
    if name == "range":
        return "ssim", ssim(**gaussian, data_range=2)
    return "ssim", ssim()  # scikit-image's default window, uniform 7x7


@pytest.mark.parametrize(
    ("name", "digits", "setting"),
    [
        ("mean error", 2, {"psnr_mean": "set"}),
        ("grey", 2, {"colour": "grey"}),
        ("jpeg", 2, {"jpeg": 75}),
        ("range", 4, {"ssim_range": 2.0}),
        ("uniform window", 4, {"ssim": "uniform7"}),
    ],
)
def test_a_planted_setting_is_first(name: str, digits: int, setting: dict[str, Any], pair: tuple[Path, Path]) -> None:
    """A number that other code computed with one other setting is explained by this setting alone, before all."""
    metric, value = planted(name, *arrays(pair))
    found = search(pair, f"{metric}={value:.{digits}f}")
    assert not found.plan.target.printed_by(found.base)
    same = [candidate.settings for candidate in found.same]
    assert setting in [each for each in same if len(each) == 1]
    assert len(same[0]) == 1
    exact = next(candidate.value for candidate in found.candidates if candidate.settings == setting)
    assert exact == pytest.approx(value, abs=2e-5)


def test_a_crop_instead_of_a_resize_is_first(tmp_path: Path) -> None:
    """The l1 of originals that were cropped is explained by the crop, where resizing is the base."""
    images = photographs(144)
    cropped = [image[24:120, 24:120] for image in images]
    others = [through_jpeg(image, 30) for image in cropped]
    pair = write(tmp_path / "a", images), write(tmp_path / "b", others)
    value = np.mean([np.abs(a / 255 - b / 255).mean() for a, b in zip(cropped, others, strict=True)])
    found = search(pair, f"l1={value:.4f}")
    assert found.plan.base.originals == "resize:bicubic"
    assert found.same[0].settings == {"originals": "crop"}


def test_a_pair_of_settings_is_found(pair: tuple[Path, Path]) -> None:
    """Two planted settings are found together, if neither explains the number alone."""
    originals, others = arrays(pair)
    coded = [(through_jpeg(a, 75) / 255, through_jpeg(b, 75) / 255) for a, b in zip(originals, others, strict=True)]
    value = -10 * np.log10(np.mean([np.mean((a - b) ** 2) for a, b in coded]))
    found = search(pair, f"psnr={value:.3f}")
    assert {"jpeg": 75, "psnr_mean": "set"} in [dict(candidate.settings) for candidate in found.same]


def test_candidates_are_in_the_stated_order(pair: tuple[Path, Path]) -> None:
    """Those of the same digits come first, fewest settings first; all others by distance."""
    found = search(pair, "psnr=33")
    count = len(found.same)
    assert 0 < count < len(found.candidates)
    assert [each in found.same for each in found.candidates] == [True] * count + [False] * (
        len(found.candidates) - count
    )
    sizes = [len(each.settings) for each in found.same]
    assert sizes == sorted(sizes)
    distances = [each.distance(found.plan.target) for each in found.candidates[count:]]
    assert distances == sorted(distances)


def test_a_number_that_nothing_explains(pair: tuple[Path, Path]) -> None:
    """Nothing is claimed for a number that no setting gives; one out of range or given already has no search."""
    found = search(pair, "psnr=12.34")
    assert found.same == []
    assert found.candidates
    outside = search(pair, "ssim=1.2")
    assert outside.candidates == []
    assert outside.plan.target.outside()
    given = search(pair, f"psnr={found.base:.2f}")
    assert given.plan.target.printed_by(given.base)


@pytest.mark.integration
@pytest.mark.parametrize("base", ["official", "clean"])
def test_the_base_is_what_evaluate_gives(base: str, pair: tuple[Path, Path]) -> None:
    """Under the two stored protocols the values are those of `vqbench.evaluate`, to the bit."""
    first, second = (np.stack(images).transpose(0, 3, 1, 2) for images in arrays(pair))
    usual = evaluate_pairs([pairs_of(first, second)], PairSettings([base], ["psnr", "ssim", "l1"])).values[base]
    for metric in ("psnr", "ssim", "l1"):
        assert search(pair, f"{metric}=0.5", base).base == pytest.approx(usual[metric].value, abs=1e-12)


def test_what_does_not_apply_is_named(pair: tuple[Path, Path]) -> None:
    """8-bit files hold no rounding, and equal sizes no resize: both are named, and not shown as a zero."""
    found = search(pair, "psnr=30")
    assert any("originals does not apply" in sentence for sentence in found.plan.left_out)
    assert any("the images have 8 bits already" in sentence for sentence in found.plan.left_out)
    assert not any(settings.get("pixels") == "round" and len(settings) == 1 for settings in found.plan.tried.values())


@pytest.mark.parametrize("text", ["psnr", "psnr=", "=3", "psnr=x", "psnr=nan", "psnr=inf"])
def test_an_odd_target_is_refused(text: str) -> None:
    """A target that is no metric and number is one sentence."""
    with pytest.raises(UsageError, match="METRIC=NUMBER"):
        Target.parse(text)


def test_images_that_do_not_belong_together_are_refused(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Images without a partner are named; the same folder twice is refused."""
    some = write(tmp_path / "some", photographs()[:3])
    with pytest.raises(UsageError, match=r"12 originals, 3 reconstructions: 9 originals without .*003, 004"):
        ExplainedPairs(pair[0], some)
    with pytest.raises(UsageError, match="are the same"):
        ExplainedPairs(pair[0], pair[0] / ".." / "a")


def test_arrays_are_as_files_are(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """Arrays of the same pixels give the same value as the files."""
    for name, images in zip("ab", arrays(pair), strict=True):
        np.save(tmp_path / f"{name}.npy", np.stack(images).transpose(0, 3, 1, 2))
    inputs = ExplainedPairs(tmp_path / "a.npy", tmp_path / "b.npy")
    originals, others = next(iter(inputs.batches("given")))
    files = next(iter(ExplainedPairs(*pair).batches("given")))
    assert torch.equal(originals, files[0])
    assert torch.equal(others, files[1])


def test_settings_may_follow_a_protocol(pair: tuple[Path, Path]) -> None:
    """From and to may change settings of a protocol: the steps lead there, and the value is that of the settings."""
    images = ExplainedPairs(*pair)
    options = ExplainOptions("clean+psnr_mean=set", "clean+jpeg=75+images=6", ["psnr"])
    found = explain_images(images, options)
    titles = [change.setting.title for change in found.cumulative("psnr")]
    assert titles == ["jpeg none → 75", "psnr_mean set → image", "images 12 → 6"]
    pairs = zip(*(side[:6] for side in arrays(pair)), strict=True)
    coded = [psnr(through_jpeg(a, 75), through_jpeg(b, 75)) for a, b in pairs]
    assert found.end("psnr") == pytest.approx(np.mean(coded), abs=2e-5)
    assert found.start("psnr") == pytest.approx(planted("mean error", *arrays(pair))[1], abs=2e-5)
    printed = protocol_differences.text(found)
    table = printed.split("does not apply")[0].splitlines()[:-1]
    assert max(map(len, table)) <= 80
    assert "\nclean, changed  " in printed
    steps = explain_images(images, replace(options, steps_only=True))
    assert [change.after for change in steps.cumulative("psnr")] == [
        change.after for change in found.cumulative("psnr")
    ]
    assert not list(steps.alone("psnr"))
    assert "alone" not in protocol_differences.text(steps)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("clean+jpeg", "write settings after the protocol as NAME=VALUE, such as clean.jpeg=75"),
        ("clean+jpg=75", "unknown setting 'jpg'; .*jpeg"),
        ("clean+jpeg=40", "jpeg can be none, 75, 95, not '40'"),
        ("clean+images=13", "images can be 2 to 12, not 13"),
        ("clean+images=half", "images can be 2 or more, not 'half'"),
        ("clean+jpeg=75+jpeg=95", "has jpeg twice"),
        ("clean+originals=crop", "originals does not apply"),
        ("clean+reference=other", "--other-reference FOLDER"),
        ("claen+jpeg=75", "unknown protocol 'claen'.*clean"),
    ],
)
def test_odd_settings_of_a_protocol_are_refused(text: str, sentence: str, pair: tuple[Path, Path]) -> None:
    """What follows a protocol is a setting that exists, with a value that it has and that fits the images."""
    with pytest.raises(UsageError, match=sentence):
        explain_images(ExplainedPairs(*pair), ExplainOptions("clean", text, ["psnr"]))
