"""Impossible settings are refused when a suite is planned, with their place and a valid alternative."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.soak import examples
from vqbench import registry
from vqbench.errors import UsageError
from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.planning.suite import SuiteSpec
from vqbench.planning.yamlfile import parse

SUITE = """\
name: good
train: {clean: {epochs: 1, batch_size: 64}}
measure: [clean]
datasets: [fashion_mnist_5k]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 8, dim: 4}
quantizers: [vq]
seeds: [1]
metrics: [l1]
"""

GAN = "train: {gan: {steps: 2, batch_size: 4, learning_rate: 1, perceptual: 0.0"
PHOTOS = "datasets: [{photos: {size: %d}}]"

# Replacement for lines of SUITE -> the place of the error, and words that it must have.
CASES = {
    "subset within the hold-out": (
        {2: "train: {clean: {batch_size: 64, subset: 300}}"},
        *("2:33: train.clean.subset:", "leaves none to train on", "last 500", "subset of 564 or more"),
    ),
    "subset that is the hold-out": (
        {2: "train: {clean: {batch_size: 64, subset: 500}}"},
        *("2:33: train.clean.subset:", "leaves none to train on", "subset of 564 or more"),
    ),
    "batch larger than what the subset leaves": (
        {2: "train: {clean: {batch_size: 64, subset: 530}}"},
        *("2:17: train.clean.batch_size:", "the 30 training images (530 less 500 held out", "subset of 564 or more"),
    ),
    "batch larger than all": (
        {2: "train: {clean: {batch_size: 3501}}"},
        *("2:17: train.clean.batch_size:", "the 3,500 training images (4,000 less 500 held out", "lower it"),
    ),
    "batch larger than the test split": (
        {2: "train: {official: {batch_size: 1001}}"},
        *("2:20: train.official.batch_size:", "leaves no test image", "1,000 or less"),
    ),
    "batch of a GAN": (
        {2: GAN.replace("4", "4001") + "}}"},
        "2:",
        "train.gan.batch_size:",
        "the 4,000 training images",
    ),
    "discriminator deeper than the images": (
        {2: GAN + ", discriminator_layers: 4}}"},
        *("2:", "train.gan.discriminator_layers:", "images of 28 pixels", "48 or more"),
    ),
    "discriminator of powers of two": (
        {2: GAN + ", discriminator: stylegan}}"},
        *("2:", "train.gan.discriminator:", "power of two", "not 28"),
    ),
    "neither steps nor epochs": (
        {2: "train: {gan: {batch_size: 4, learning_rate: 1}}"},
        *("2:", "train.gan", "either steps or epochs"),
    ),
    "a side that is not halved": (
        {4: PHOTOS % 30},
        *("4:22: datasets.0.photos.size:", "30x30", "28 or 32"),
    ),
    "a side that is not halved, of a data set's own": (
        {5: "backbone: {vqgan: {width: 32, attention: none}}"},
        *("5:12: backbone.vqgan:", "28x28", "16 or 32"),
    ),
    "patches that do not fill an image": (
        {5: "backbone: {vit: {patch: 5}}"},
        *("5:12: backbone.vit:", "28x28", "25 or 30"),
    ),
    "attention at no map": (
        {5: "backbone: {vqgan: {width: 32, size: 64, attention: '5'}}"},
        *("5:41: backbone.vqgan.attention:", "has the side 5"),
    ),
    "widths that do not divide": (
        {5: "backbone: {vqgan: {width: 33}}"},
        "5:20: backbone.vqgan.width:",
        "multiple of 32",
    ),
    "SSIM of small images": (
        {4: PHOTOS % 8, 9: "metrics: [l1, ssim]"},
        *("9:15: metrics.1:", "11x11", "8x8", "leave ssim out"),
    ),
    "LPIPS of small images": (
        {4: PHOTOS % 12, 9: "metrics: [lpips]"},
        *("9:11: metrics.0:", "16x16", "12x12", "leave lpips out"),
    ),
    "neighbours among too few samples": (
        {
            8: "generate: {autoregressive: {steps: 1, width: 8, heads: 1}}\nsamples: {count: 3}",
            9: "metrics: [l1, precision]",
        },
        *("10:15: metrics.1:", "4 samples or more", "gives 3"),
    ),
    "batch of a second stage": (
        {8: "generate: {autoregressive: {steps: 1, batch_size: 4001}}", 9: "metrics: [l1, fid]"},
        *("8:39: generate.autoregressive.batch_size:", "the 4,000 training images", "lower it"),
    ),
    "heads that do not divide": (
        {8: "generate: {autoregressive: {steps: 1, width: 9, heads: 2}}", 9: "metrics: [l1, fid]"},
        *("8:39: generate.autoregressive.width:", "2 heads"),
    ),
    "an argument that a quantizer refuses": (
        {7: "quantizers: [{sqvae: {scale: -1.0}}]"},
        *("7:23: quantizers.0.sqvae.scale:", "greater than 0, not -1.0"),
    ),
    "arguments that a quantizer refuses together": (
        {7: "quantizers: [{vq_bridge: {heads: 3}}]"},
        *("7:27: quantizers.0.vq_bridge.heads:", "heads must divide hidden"),
    ),
    "an argument that a quantizer refuses on one data set": (
        {7: "quantizers: [{sqvae: {}, on: {fashion_mnist_5k: {scale: -1.0}}}]"},
        *("7:50: quantizers.0.on.fashion_mnist_5k.scale:", "greater than 0, not -1.0"),
    ),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own, and no folder of data."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images in the place of those that the data set would cut out of others."""
    from PIL import Image

    root = tmp_path / "data" / "photos"
    for split, count in (("train", 720), ("test", 2)):
        (root / split).mkdir(parents=True)
        for number in range(count):
            pixel = number % 256, number // 256, 0
            Image.new("RGB", (1, 1), pixel).save(root / split / f"{number:03}.ppm")
    monkeypatch.setenv("VQBENCH_DATA", str(tmp_path / "data"))


def written(folder: Path, lines: dict[int, str]) -> Path:
    text = [lines.get(number, line) for number, line in enumerate(SUITE.splitlines(), 1)]
    path = folder / "suite.yaml"
    path.write_text("\n".join(text) + "\n")
    return path


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_work_is_refused_when_planned(tmp_path: Path, case: str, request: pytest.FixtureRequest) -> None:
    """The error names the file, the key, what is wrong and what would work, before anything is trained."""
    lines, place, *words = CASES[case]
    if "photos" in lines.get(4, ""):
        request.getfixturevalue("photos")
    path = written(tmp_path, lines)
    with pytest.raises(UsageError) as caught:
        loading.load(path, [])
    assert str(caught.value).startswith(f"{path}:{place}")
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_suite_can_be_planned(tmp_path: Path) -> None:
    """The unchanged suite is valid, so each variant is refused for its own fault."""
    assert len(loading.load(written(tmp_path, {}), []).runs()) == 1


@pytest.mark.parametrize(
    ("options", "start"),
    [({"subset": 300}, "--subset: reduced.subset:"), ({"batch_size": 3501}, "--batch-size: reduced.batch_size:")],
)
def test_options_of_a_reduced_copy_are_named(tmp_path: Path, options: dict[str, int], start: str) -> None:
    """A subset too small is reported at the option of the command line, not at the suite file."""
    with pytest.raises(UsageError) as caught:
        loading.load(written(tmp_path, {}), [], reduced=options)
    assert str(caught.value).startswith(start)


def test_too_few_test_images(tmp_path: Path, photos: None) -> None:
    """A metric with a covariance needs two images; the index of a folder has its number of images."""
    (tmp_path / "data" / "photos" / "test" / "001.ppm").unlink()
    path = written(tmp_path, {4: PHOTOS % 16, 9: "metrics: [l1, rfid]"})
    with pytest.raises(UsageError, match=r"metrics\.1: rfid needs 2 test images or more, Photographs gives 1"):
        loading.load(path, [])


def test_no_image_is_held_out_of_few(tmp_path: Path, photos: None) -> None:
    """Of fewer than ten training images none is held out, which would take the last 0 of them: all."""
    for path in sorted((tmp_path / "data" / "photos" / "train").iterdir())[9:]:
        path.unlink()
    suite = written(tmp_path, {2: "train: {clean: {epochs: 1, batch_size: 4}}", 4: PHOTOS % 16})
    with pytest.raises(
        UsageError, match=r"of 9 training images none are held out for selection; set selection to last"
    ):
        loading.load(suite, [])
    assert loading.load(suite, [], [Override("train.clean.selection", "last")]).runs()


NUMBERS = st.sampled_from([-(2**40), -3, -1, 0, 1, 2, 3, 7, 64, 5000, 2**31, 2**40, -0.5, 0.0, 0.5, 1.0, 1e9, 1e300])
ARGUMENTS = [
    (kind, name, argument)
    for kind, name in (("train", "autoencoder"), ("train", "gan"), ("backbone", "conv"), ("quantizer", "vq_ema"))
    for argument, (annotation, _) in registry.parameters(registry.load(f"{kind}s".replace("trains", "recipes"), name))  # type: ignore[arg-type]
    if any(kind in str(annotation) for kind in ("int", "float")) and argument not in ("num_codes", "dim")
]


@examples()
@given(place=st.sampled_from(ARGUMENTS), number=NUMBERS)
def test_any_number_is_a_plan_or_one_sentence(place: tuple[str, str, str], number: float) -> None:
    """Whatever number an argument gets, the suite is planned or refused in one line with its place."""
    kind, name, argument = place
    document = parse(SUITE, "suite.yaml")
    if kind == "train":
        common = {"epochs": 1, "batch_size": 64, "learning_rate": 1e-3}
        train = {"clean": common} if name == "autoencoder" else {name: {**common, "steps": None, "perceptual": 0.0}}
        next(iter(train.values()))[argument] = number
        document.data["train"] = train
    else:
        changed = {name: {argument: number}}
        document.data["backbone" if kind == "backbone" else "quantizers"] = changed if kind == "backbone" else [changed]
    try:
        suite = SuiteSpec.from_document(document)
        assert loading.resolve(suite, "digest", False).runs()
    except UsageError as error:
        assert str(error).startswith("suite.yaml:")  # noqa: PT017
        assert len(str(error).splitlines()) == 1  # noqa: PT017


HALVES = """
import torch
from torch import nn
from vqbench.backbone import Backbone


class Halves(Backbone):
    '''Half the side and back.'''

    paper = "none"

    def __init__(self, channels, dim):
        super().__init__()
        self.down = nn.Conv2d(channels, dim, 2, stride=2)
        self.up = nn.ConvTranspose2d(dim, channels, 2, stride=2)

    def encode(self, x):
        return self.down(x)

    def decode(self, z_q):
        return self.up(z_q)
"""


def test_a_strangers_backbone_is_tried_without_arithmetic(
    tmp_path: Path, photos: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backbone that does not say what it divides sides by is made without memory, and its images are compared."""
    monkeypatch.setattr("vqbench.registry.discovery._files", {})
    registry.sources.cache_clear()
    (tmp_path / "halves.py").write_text(HALVES)
    registry.add_file(tmp_path / "halves.py")
    even, odd = ({4: PHOTOS % size, 5: "backbone: halves"} for size in (16, 17))
    assert loading.load(written(tmp_path, even), []).runs()
    with pytest.raises(UsageError, match=r"halves does not return images of 17x17 pixels.*a side of 16 or 18"):
        loading.load(written(tmp_path, odd), [])
    registry.sources.cache_clear()
