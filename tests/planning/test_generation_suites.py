"""The shipped suites of second stages: their settings, and reduced end-to-end runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
from PIL import Image

from tests.support import odd_images
from tests.support.tiny_suite import vqbench
from vqbench import registry
from vqbench.backbone import Autoencoder
from vqbench.planning import loading
from vqbench.planning.overrides import Override
from vqbench.planning.schema import Problem
from vqbench.planning.suite_files import load_suite
from vqbench.planning.suite_parts import SampleSettings
from vqbench.recipe import SecondStage
from vqbench.store.results import ResultStore
from vqbench.store.value_name import Sampling
from vqbench.training.latents.generator import Generator

pytest.importorskip("diffusers", reason="the extra `generate` is not installed")

LSUN = {"lsun_bedrooms": "bedroom", "lsun_churches": "church_outdoor"}
OF_SAMPLES = {"fid", "sample_kid", "precision", "recall", "density", "coverage", "copies"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of the test's own, and no folder of data."""
    monkeypatch.setenv("VQBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("VQBENCH_DATA", raising=False)


def images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(odd_images.scene(70 + number, 66)).save(folder / f"{number:02}.png")


def lsun(folder: Path, category: str) -> Path:
    """LSUN as folders: 24 images to train with, 4 to test."""
    images(folder / f"{category}_train", 24)
    images(folder / f"{category}_val", 4)
    return folder


def first_stage(name: str) -> tuple[Any, Autoencoder]:
    """The suite ``name``'s second stage and its untrained first one, of its first row."""
    suite = load_suite(name)
    assert suite.generate is not None
    row = suite.rows()[0]
    backbone: Any = registry.load("backbones", suite.backbone.name)
    quantizer: Any = registry.load("quantizers", row.quantizer)
    first = Autoencoder(backbone(3, row.budget["dim"], **suite.backbone.args), quantizer(**row.budget, **row.args))
    return registry.load("recipes", suite.generate.name)(**suite.generate.args), first


@pytest.mark.parametrize("name", ["generate_quick", "generate_fashion", "generate_codes", "generate_small", *LSUN])
def test_suites_ask_for_every_number_of_samples(name: str) -> None:
    """A shipped suite of second stages has FID, KID and the others, and rFID and usage of its tokenizers."""
    metrics = load_suite(name).metrics
    assert set(metrics) >= {"rfid", "usage", *OF_SAMPLES}


@pytest.mark.integration
@pytest.mark.parametrize("name", LSUN)
def test_the_lsun_suites_have_the_published_sizes(name: str) -> None:
    """The autoencoder is the released f8 one with 4 latent channels, to the parameter, and the UNet of the latents is
    that of LSUN bedrooms: 274,060,196 parameters for 32x32x4."""
    recipe, first = first_stage(name)
    count = {
        part: sum(p.numel() for p in getattr(first.backbone, part).parameters()) for part in ("encoder", "decoder")
    }
    assert count == {"encoder": 27_397_764, "decoder": 40_253_955}
    assert first.quantizer.codebook.shape == (16_384, 4)
    generator: Generator = recipe.generator(first, 3, 256)
    assert generator.shape == (4, 32, 32)
    assert sum(p.numel() for p in generator.parameters()) == 274_060_196
    assert recipe.learning_rate == pytest.approx(2e-6 * recipe.batch_size)


@pytest.mark.parametrize("name", LSUN)
def test_rows_of_lsun_differ_in_their_quantizer_alone(name: str, tmp_path: Path) -> None:
    """Both tokenizers have the same backbone, training, codes and second stage, on the same images."""
    data = lsun(tmp_path / "data", LSUN[name])
    few = ["train.gan.batch_size=8", "generate.diffusion.batch_size=8"]  # the folder holds 24 training images
    found = loading.load(name, [], list(map(Override.parse, [f"data={data}", *few])))
    vqgan, cvq = found.entries
    for part in ("recipe", "backbone", "dataset", "seed"):
        assert getattr(vqgan.run, part) == getattr(cvq.run, part)
    assert vqgan.second.recipe == cvq.second.recipe  # type: ignore[union-attr]
    assert [entry.run.quantizer.args[each] for entry in (vqgan, cvq) for each in ("num_codes", "dim")] == [16384, 4] * 2
    assert [run.parent is None for run in found.runs()] == [True, True, False, False]
    assert str(found.sampling) == (
        "50,000 samples (steps 200, eta 1) against the training split, its first 50,000 images at most"
    )


@pytest.mark.slow
def test_the_lsun_suite_runs_end_to_end(tmp_path: Path) -> None:
    """Reduced in size, both rows of the suite train tokenizer and diffusion and get every metric of samples."""
    data = lsun(tmp_path / "data", "bedroom")
    small = [
        f"data={data}",
        "datasets=[{lsun: {category: bedroom, size: 64, flip: true}}]",
        "train.gan.epochs=1",
        "train.gan.batch_size=8",
        'backbone={vqgan: {width: 32, multipliers: 1x1x1x2, blocks: 1, attention: "8", z_channels: 4, size: 64}}',
        "codebook={num_codes: 64, dim: 4}",
        'generate={diffusion: {steps: 3, batch_size: 8, channels: 32, multipliers: "1x2", attention: "2"}}',
        "samples={count: 12, steps: 2, references: 20}",
    ]
    words = [word for each in small for word in ("--set", each)]
    assert vqbench("run", "lsun_bedrooms", "--store", tmp_path / "runs", "--jobs", 0, "--quiet", *words) == 0
    found = loading.load("lsun_bedrooms", [], list(map(Override.parse, small)))
    for entry in found.entries:
        record = ResultStore(tmp_path / "runs").read(entry.second)  # type: ignore[arg-type]
        assert record is not None
        values = record.values["clean:n=12,reference=train,references=20,steps=2,eta=1"]
        assert set(values) == OF_SAMPLES


class Guided(SecondStage):
    """An outside second stage with its own sampling setting."""

    sampler: ClassVar[dict[str, float]] = {"guidance": 2.0}

    @classmethod
    def wrong_setting(cls, name: str, value: Any) -> str | None:
        return None if value >= 1 else "at least 1"


def test_settings_of_samples_are_the_recipes_own() -> None:
    """Keys of ``samples`` beside those of every suite are settings that the recipe alone names and checks."""
    settings = SampleSettings.model_validate({"count": 5, "guidance": 3})
    assert settings.model_dump(exclude_unset=True) == {"count": 5, "guidance": 3}
    assert settings.sampling("guided", Guided) == Sampling(5, settings={"guidance": 3})
    assert SampleSettings().sampling("guided", Guided).settings == {"guidance": 2.0}
    for wrong, words in (
        ({"guidance": 0}, "is 0; it should be at least 1"),
        ({"guidence": 3}, "did you mean 'guidance'"),
    ):
        with pytest.raises(Problem, match=words):
            SampleSettings.model_validate(wrong).sampling("guided", Guided)
