"""The training loop that all recipes share: stopping, resuming, checkpoints and losses that are not finite."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.support.ranks import Few
from tests.support.ranks import recipe as autoencoder
from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.errors import Interrupted, RunError
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.identity import Identity
from vqbench.quantizers.vq import VQ
from vqbench.recipe import Recipe, Task
from vqbench.recipes.autoregressive import Autoregressive
from vqbench.recipes.gan import Gan
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine
from vqbench.training.loop import epoch_order

TOTAL = 8  # updates, in two epochs


class Breaking(VQ):
    """Its loss is not finite in one update."""

    def __init__(self, at: int = 0, value: float = math.nan) -> None:
        super().__init__(32, 8)
        self.at, self.value, self.calls = at, value, 0

    def forward(self, z: Tensor) -> QuantizerOutput:
        out = super().forward(z)
        self.calls += self.training
        if self.training and self.calls == self.at:
            out.loss = out.loss + self.value
        return out


class BreakingPrior(Autoregressive):
    """Its loss is not finite in one update, of all that it ever does."""

    at, value, calls = 0, math.nan, 0

    def loss(self, model: Any, *batch: Tensor) -> Tensor:
        self.calls += 1
        return super().loss(model, *batch) * (self.value if self.calls == self.at else 1.0)


def gan() -> Recipe:
    small = {"perceptual": 0.0, "discriminator_width": 8, "discriminator_layers": 1}
    return Gan(epochs=2, batch_size=75, learning_rate=1e-3, ema=0.9, **small)  # type: ignore[arg-type]


def prior() -> BreakingPrior:
    return BreakingPrior(steps=TOTAL, batch_size=75, width=16, layers=1, heads=2)


RECIPES: dict[str, Callable[[], Recipe]] = {"autoencoder": autoencoder, "gan": gan, "second stage": prior}


def task(name: str, folder: Path, quantizer: Any = None, **changes: Any) -> Task:
    torch.manual_seed(0)
    model = Autoencoder(Conv(1, 8, hidden=16, residual_hidden=8), quantizer or Breaking())
    if name == "second stage":
        model = model.eval().requires_grad_(False)
    return Task(model, Few(), spec.seeds(42, "few"), Engine("cpu"), folder, CodebookMonitor(), **changes)


@pytest.mark.parametrize("name", RECIPES)
def test_stopped_after_any_update_it_resumes_exactly(tmp_path: Path, name: str) -> None:
    """Whatever update a training is stopped after, it ends with the weights of one that was never stopped."""
    trained = RECIPES[name]().fit(task(name, tmp_path / "whole"))
    whole = torch.load(tmp_path / "whole" / "best.pt", weights_only=True)
    folder = tmp_path / "parts"
    for step in range(1, TOTAL):

        def progress(updates: int, total: int, step: int = step) -> None:
            assert (updates, total) == (step, TOTAL)

        with pytest.raises(Interrupted, match=f"stopped after update {step} of {TOTAL}"):
            RECIPES[name]().fit(task(name, folder, progress=progress, stopped=_after_one_update(name)))
    entries: list[Any] = []
    resumed = RECIPES[name]().fit(task(name, folder, on_epoch=entries.append))
    assert resumed.history == trained.history
    assert [entry["epoch"] for entry in trained.history] == [1, 2]
    assert entries == trained.history[1:], "the first epoch ended in another attempt"
    for key, value in torch.load(folder / "best.pt", weights_only=True).items():
        assert torch.equal(value, whole[key]), key


def _after_one_update(name: str) -> Callable[[], bool]:
    """Stop after the first update: a second stage polls once before, while it encodes its latents."""
    polls = itertools.count()
    return lambda: next(polls) >= (name == "second stage")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("stop", [None, 5])
@pytest.mark.parametrize("name", RECIPES)
def test_the_first_update_without_a_finite_loss_is_named(
    tmp_path: Path, name: str, stop: int | None, value: float
) -> None:
    """A loss that is not finite fails the run at the end of its epoch, with the number of the update, also in a
    training that resumed mid-epoch."""
    recipe, quantizer = RECIPES[name](), Breaking(at=7, value=value)
    if isinstance(recipe, BreakingPrior):
        recipe.at, recipe.value, quantizer = 7, value, Breaking()
    owner = "BreakingPrior" if name == "second stage" else "Breaking"
    term = "term 'quantizer'" if name == "gan" else "loss"
    sentence = f"the {term} of {owner} became (nan|inf) at update 7 of 8, in epoch 2; lower the learning rate"
    updates = 0

    def progress(done: int, total: int) -> None:
        nonlocal updates
        updates = done

    work = task(name, tmp_path, quantizer, progress=progress, stopped=lambda: updates == stop)
    if stop is not None:
        with pytest.raises(Interrupted, match="after update 5"):
            recipe.fit(work)
        work.stopped = lambda: False
    with pytest.raises(RunError, match=sentence):
        recipe.fit(work)


@pytest.mark.parametrize("name", RECIPES)
def test_checkpoints_take_a_limited_share_of_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Where a checkpoint takes long to write, the next one is due only after twenty times as long."""
    now = 0.0
    saved: list[int] = []
    work = task(name, tmp_path, checkpoint_interval=5.0)
    save = work.engine.save

    def slow(path: Path, state: dict[str, Any]) -> None:
        nonlocal now
        save(path, state)
        if path.name == "last.pt":
            now += 1.0
            saved.append(state["progress"]["step"])

    def progress(done: int, total: int) -> None:
        nonlocal now
        now += 6.0

    monkeypatch.setattr("vqbench.training.checkpoint.time.monotonic", lambda: now)
    monkeypatch.setattr(work.engine, "save", slow)
    work.progress = progress
    RECIPES[name]().fit(work)
    assert saved == [1, 5, TOTAL]  # 6 s after the start, then more than 20 s after the first


def test_a_checkpoint_has_the_names_that_older_ones_have(tmp_path: Path) -> None:
    """The layout of ``last.pt`` stays, so that a run that is half trained resumes under a newer version."""
    autoencoder().fit(task("autoencoder", tmp_path))
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved.keys() == {"model", "optimizer", "progress", "watch"}
    names = {"step", "best", "best_epoch", "seconds", "loss", "error", "history", "origins"}
    assert saved["progress"].keys() == names


def test_the_order_of_images_is_the_same_for_all_quantizers(tmp_path: Path) -> None:
    """Two quantizers of a seed see the same images in the same order, so that their comparison is paired."""
    orders = [epoch_order(task("gan", tmp_path, quantizer), 3, 300) for quantizer in (Identity(1, 8), VQ(32, 8))]
    assert torch.equal(*orders)
    assert sorted(orders[0].tolist()) == list(range(300))
    assert not torch.equal(orders[0], epoch_order(task("gan", tmp_path), 4, 300))


def test_seeding_is_that_of_torch() -> None:
    """The engine's seeds, without the cost of torch's for devices that are absent, draw the numbers of torch's."""
    torch.manual_seed(7)
    drawn = torch.rand(4)
    Engine("cpu").seed(7)
    torch.testing.assert_close(torch.rand(4), drawn, rtol=0, atol=0)
