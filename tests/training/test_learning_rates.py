"""Learning rates that a quantizer declares: the groups of an optimizer, schedules, resuming, and wrong declarations."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.ranks import Few
from tests.support.ranks import recipe as autoencoder
from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.errors import Interrupted, RunError
from vqbench.quantizer import Quantizer
from vqbench.quantizers.vq import VQ
from vqbench.quantizers.wasserstein_vq import WassersteinVQ
from vqbench.recipe import Recipe, Task
from vqbench.recipes.atomic import AtomicRecipe
from vqbench.recipes.autoencoder import ReconstructionTraining
from vqbench.recipes.gan import Gan
from vqbench.training.adversarial.update import AdamConfig
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine
from vqbench.training.learning_rates import parameter_groups, set_rate

RECIPES: dict[str, Recipe] = {
    "atomic": AtomicRecipe(epochs=2, batch_size=75, learning_rate=1e-3, decay="linear"),  # of 300 images
    "autoencoder": autoencoder(decay="linear"),
    "gan": Gan(steps=8, batch_size=64, learning_rate=1e-3, perceptual=0.0, adversarial=0.0, schedule="cosine"),
}


class Rated(VQ):
    """VQ with the rates that it is given."""

    def __init__(self, rates: Mapping[str, float]) -> None:
        super().__init__(32, 8)
        self.rates = rates

    def learning_rates(self) -> Mapping[str, float]:
        return self.rates


def model(quantizer: Quantizer) -> Autoencoder:
    return Autoencoder(Conv(1, 8, hidden=8, residual_hidden=4), quantizer)


def task(folder: Path, quantizer: Quantizer | None = None, **changes: Any) -> Task:
    torch.manual_seed(0)
    subject = model(quantizer or WassersteinVQ(32, 8, queue=256))
    monitor = {"monitor": CodebookMonitor()}
    return Task(subject, Few(), spec.seeds(42, "few"), Engine("cpu"), folder, **{**monitor, **changes})


def test_without_declared_rates_the_optimizer_is_the_plain_one() -> None:
    """One group with all parameters in their order: the same state, and so the same checkpoints, as of a list."""
    subject = model(VQ(32, 8))
    plain = torch.optim.Adam(subject.parameters(), lr=3e-4)
    grouped = torch.optim.Adam(parameter_groups(subject.parameters(), subject.quantizer), lr=3e-4)
    for optimizer in (plain, grouped):
        subject.zero_grad()
        subject(torch.ones(1, 1, 16, 16))[0].sum().backward()
        optimizer.step()
    assert plain.state_dict()["param_groups"] == grouped.state_dict()["param_groups"]
    assert plain.state_dict()["state"].keys() == grouped.state_dict()["state"].keys()


def test_declared_rates_have_groups_of_their_own() -> None:
    """The codes' group follows the others', with its rate; a schedule sets the first group alone."""
    subject = model(WassersteinVQ(32, 8, queue=8))
    optimizer = torch.optim.Adam(parameter_groups(subject.parameters(), subject.quantizer), lr=3e-4)
    set_rate(optimizer, 1e-5)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-5, 0.02]
    assert optimizer.param_groups[1]["params"] == [subject.quantizer.codebook]
    assert len(optimizer.param_groups[0]["params"]) == len([*subject.parameters()]) - 1


def test_all_parameters_may_have_rates_of_their_own() -> None:
    """A quantizer that is fitted alone leaves the first group empty, which a schedule may set all the same."""
    quantizer = WassersteinVQ(32, 8, queue=8)
    optimizer = torch.optim.Adam(parameter_groups(quantizer.parameters(), quantizer), lr=3e-4)
    set_rate(optimizer, 1e-5)
    assert [(len(group["params"]), group["lr"]) for group in optimizer.param_groups] == [(0, 1e-5), (1, 0.02)]


def test_frozen_parameters_have_no_group() -> None:
    """In a GAN's second phase, of the decoder alone, the codes do not learn at any rate."""
    subject = model(WassersteinVQ(32, 8, queue=8))
    assert len(AdamConfig(1e-4).over(subject).param_groups) == 2
    subject.quantizer.requires_grad_(False)
    [group] = AdamConfig(1e-4).over(subject).param_groups
    assert all(parameter.requires_grad for parameter in group["params"])


def test_the_rate_stays_while_the_recipe_decays(tmp_path: Path) -> None:
    """With a linear decay the recipe's rate has fallen after six of eight updates; that of the codes is 0.02."""
    training = ReconstructionTraining(autoencoder(decay="linear"), task(tmp_path))
    training.begin()
    training.start_epoch(0, torch.arange(256), 0)
    before = training.quantizer.get_parameter("codebook").detach().clone()
    training.update(6, 0)
    assert [group["lr"] for group in training.optimizer.param_groups] == pytest.approx([2.5e-4, 0.02])
    moved = (training.quantizer.get_parameter("codebook") - before).abs()
    assert moved.max().item() == pytest.approx(0.02, rel=1e-3)  # Adam's first step is the rate


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_anywhere_it_resumes_exactly(name: str, tmp_path: Path) -> None:
    """Codes at a rate of their own and their queue: a training stopped every few updates ends with the same bits."""
    recipe, whole = RECIPES[name], task(tmp_path / "whole")
    recipe.fit(whole)
    stops = 0
    while True:
        calls = itertools.count()
        part = task(tmp_path / "parts", stopped=lambda calls=calls: next(calls) % 3 == 1)
        try:
            recipe.fit(part)
            break
        except Interrupted:
            stops += 1
    assert stops >= 2
    expected = whole.model.state_dict()
    assert all(torch.equal(expected[key], value) for key, value in part.model.state_dict().items())
    assert not torch.equal(expected["quantizer.queue"], task(tmp_path).model.state_dict()["quantizer.queue"])
    groups = torch.load(tmp_path / "parts" / "last.pt", weights_only=True)["optimizer"]["param_groups"]
    assert groups[0]["lr"] < 1e-3, "the recipe's rate decays"
    assert [group["lr"] for group in groups[1:]] == [0.02]


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        ({"codes": 0.02}, "learning_rates of Rated names 'codes', which is no parameter of it; it has: codebook"),
        ({"codebook": 0.0}, "the learning rate that Rated declares for 'codebook' is 0.0; make it positive"),
        ({"codebook": float("nan")}, "for 'codebook' is nan; make it positive"),
    ],
)
def test_a_wrong_declaration_fails_in_one_sentence(tmp_path: Path, rates: Mapping[str, float], sentence: str) -> None:
    """A rate of no parameter, and one that is not above 0, end the run with a sentence before any update."""
    with pytest.raises(RunError) as error:
        autoencoder().fit(task(tmp_path, Rated(rates)))
    assert sentence in str(error.value)
