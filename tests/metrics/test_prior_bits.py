"""Bits under a prior are the length that an arithmetic coder reaches, held out, per image and per dimension."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.recipes.test_autoregressive import recipe, task
from tests.support.arithmetic_coder import decode, encode, frequencies
from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.dataset import Dataset
from vqbench.errors import UsageError
from vqbench.evaluation.samples import SampleEvaluator
from vqbench.images import to_unit
from vqbench.measuring.set_measurement import SetSettings, default_set_metrics
from vqbench.metric import Samples
from vqbench.quantizers.residual import Residual
from vqbench.quantizers.vq import VQ
from vqbench.training.latents.generator import Generator
from vqbench.training.latents.prior import Prior
from vqbench.training.latents.transformer import Seen

NAME = "clean:n=4,reference=test,temperature=1"
IMAGES = 5  # that are coded


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> tuple[Prior, Dataset]:
    """A tiny trained prior over the codes of an autoencoder whose codebook is drawn from its features."""
    given = task(tmp_path_factory.mktemp("prior"))
    with torch.no_grad():
        z = given.model.backbone.encode(to_unit(given.dataset.pixels("train")[:20]))  # (B, 8, 7, 7)
        features = z.permute(0, 2, 3, 1).flatten(0, 2)  # (N, 8)
        given.model.quantizer.codebook.copy_(features[torch.randperm(len(features))[:32]])
    recipe(steps=60, dropout=0.3, learning_rate=1e-2, ema=0.9).fit(given)
    generator = recipe(dropout=0.3).generator(given.model, 1, 28)
    generator.load_state_dict(torch.load(given.folder / "best.pt", weights_only=True))
    return generator.eval(), given.dataset


def code_frequencies(prior: Prior, codes: list[int]) -> np.ndarray:
    """The frequencies of the code after ``codes``, place by place, as a decoder has to find them."""
    seen, tokens = Seen(), torch.tensor([prior.shape[2] * prior.first.quantizer.num_codes])
    for place in range(len(codes) + 1):
        scores, seen = prior.net.step(tokens, place, seen)
        if place < len(codes):
            tokens = torch.tensor([codes[place] + place % prior.shape[2] * prior.first.quantizer.num_codes])
    return frequencies(scores[0].double().softmax(0).numpy())


@pytest.mark.integration
@torch.no_grad()
def test_an_arithmetic_coder_reaches_the_bits(prior: tuple[Prior, Dataset]) -> None:
    """Test images' codes, written one after the other by an arithmetic coder that knows the prior, take the bits of
    ``code_bits`` within 1 %, are read back exactly, and take fewer than a uniform code's."""
    generator, dataset = prior
    x = to_unit(dataset.pixels("test")[:IMAGES])
    codes = generator.encode(x).flatten(1).long().tolist()
    models = [code_frequencies(generator, each[:place]) for each in codes for place in range(generator.length)]
    written = encode([code for each in codes for code in each], models)
    expected = float(generator.code_bits(x).sum())
    assert len(written) == pytest.approx(expected, rel=0.01)
    assert expected < 0.9 * IMAGES * generator.length * math.log2(generator.first.quantizer.num_codes)
    assert len({code for each in codes for code in each}) > 10
    length = generator.length
    read = decode(
        written, IMAGES * length, lambda so_far: code_frequencies(generator, so_far[len(so_far) // length * length :])
    )
    assert read == [code for each in codes for code in each]


def test_an_untrained_prior_costs_a_uniform_code() -> None:
    """With scores of zero every code costs log2 K bits, at every place of every depth, in chunks or at once."""
    torch.manual_seed(0)
    model = Autoencoder(Conv(1, 8, hidden=16, residual_hidden=8), Residual(32, 8, depth=2))
    generator = recipe().generator(model, 1, 28).eval()
    torch.nn.init.zeros_(generator.net.head.weight)
    bits = generator.code_bits(torch.rand(3, 1, 28, 28) * 2 - 1)
    assert bits.dtype == torch.float64
    torch.testing.assert_close(bits, torch.full((3,), generator.length * math.log2(model.quantizer.num_codes)).double())
    assert generator.length == 7 * 7 * 2


def test_pieces_do_not_change_the_bits(prior: tuple[Prior, Dataset], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores of one image in memory at a time give the bits of all at once."""
    generator, dataset = prior
    x = to_unit(dataset.pixels("test")[:5])
    whole = generator.code_bits(x)
    monkeypatch.setattr("vqbench.training.latents.prior.SCORES", 1)
    torch.testing.assert_close(generator.code_bits(x), whole, rtol=1e-6, atol=0)


def measured(generator: Generator, dataset: Dataset, folder: Path, name: str = NAME) -> dict[str, Any]:
    evaluator = SampleEvaluator(dataset, torch.device("cpu"))
    wanted = {name: ["prior_bits", "bits_dim"]}
    done = evaluator.measure(generator, spec.seeds(42, "few"), folder, wanted, lambda *_: None, None, anew=True)
    return done.values[name]


def test_both_are_means_over_the_test_split(prior: tuple[Prior, Dataset], tmp_path: Path) -> None:
    """The mean of the test images' bits, and that divided by their 784 pixels; a limit of test images counts; the
    record says how many images, not how many samples."""
    generator, dataset = prior
    bits = generator.code_bits(to_unit(dataset.pixels("test")))
    values = measured(generator, dataset, tmp_path)
    assert values["prior_bits"].value == pytest.approx(float(bits.mean()), rel=1e-6)
    assert values["bits_dim"].value == pytest.approx(float(bits.mean()) / 784, rel=1e-6)
    assert values["prior_bits"].images == len(bits)
    few = measured(generator, dataset, tmp_path / "few", NAME.replace("clean", "clean@7"))
    assert few["prior_bits"].value == pytest.approx(float(bits[:7].mean()), rel=1e-6)
    assert few["prior_bits"].images == 7


class WithoutLikelihood(Generator):
    """A generator that cannot say how likely anything is."""

    def sample(self, seeds: Any, **settings: Any) -> Tensor:
        return torch.zeros(len(seeds), 1, 28, 28)


def test_a_generator_without_likelihood_has_no_value(prior: tuple[Prior, Dataset], tmp_path: Path) -> None:
    """The value is None, which a table shows as a dash, not zero."""
    generator = WithoutLikelihood(Autoencoder(Conv(1, 8, hidden=16, residual_hidden=8), VQ(32, 8)))
    values = measured(generator, prior[1], tmp_path)
    assert values["prior_bits"].value is None
    assert values["bits_dim"].value is None


def test_images_alone_have_no_prior_bits() -> None:
    """Samples that come without a generator have no bits."""
    nothing = torch.zeros(0, 1, 2, 2, dtype=torch.uint8)
    assert Samples(nothing, nothing, lambda: nothing, lambda: nothing).test_bits is None


def test_sets_of_images_are_not_asked_for_bits() -> None:
    """Measured folders of images have no prior: the metric is no default there, and named it is refused."""
    assert not {"prior_bits", "bits_dim"} & set(default_set_metrics())
    with pytest.raises(UsageError, match="'prior_bits' needs a generator, not its images alone"):
        SetSettings(["clean"], ["prior_bits"], torch.device("cpu"))
