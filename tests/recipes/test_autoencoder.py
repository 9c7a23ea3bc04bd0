"""The recipe ``autoencoder``: what it trains on, in which order, and what selection does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.ranks import Few, recipe
from vqbench import spec
from vqbench.backbone import Autoencoder
from vqbench.backbones.conv import Conv
from vqbench.conformance.recipes.case import RecipeCase
from vqbench.errors import Damaged, Interrupted, RunError
from vqbench.images import to_unit
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.quantizers.cvq import CVQ
from vqbench.quantizers.identity import Identity
from vqbench.recipe import Task
from vqbench.recipes import autoencoder
from vqbench.recipes.autoencoder import ReconstructionRecipe
from vqbench.training import checkpoint, engine
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine
from vqbench.training.learning_rates import rate_factor


def task(folder: Path, quantizer: Quantizer | None = None, **changes: Any) -> Task:
    torch.manual_seed(0)
    model = Autoencoder(Conv(1, 8, hidden=16, residual_hidden=8), quantizer or CVQ(32, 8))
    return Task(model, Few(), spec.seeds(42, "few"), Engine("cpu"), folder, **{"monitor": CodebookMonitor(), **changes})


def every_third(calls: Iterator[int]) -> Callable[[], bool]:
    return lambda: next(calls) % 3 == 2


class Blank(Few):
    """Every pixel is 37."""

    def pixels(self, split: Any) -> torch.Tensor:
        return torch.full_like(super().pixels(split), 37)


class Recorder(Identity):
    """Notes what it is given."""

    def __init__(self) -> None:
        super().__init__(1, 8)
        self.given: list[tuple[bool, int]] = []
        self.progress: list[float] = []

    def forward(self, z: torch.Tensor) -> QuantizerOutput:
        self.given.append((self.training, len(z)))
        return super().forward(z)

    def anneal(self, progress: float) -> None:
        self.progress.append(progress)


def test_variance_is_that_of_all_pixels() -> None:
    """The divisor of the error is the population variance of pixels / 255 over everything."""
    pixels = Few().pixels("train")
    assert autoencoder.variance(pixels) == pytest.approx(float((pixels.double() / 255).var(correction=0)), rel=1e-12)


def test_images_without_any_variance_fail_in_one_sentence(tmp_path: Path) -> None:
    """Blank images have no variance to divide the error by: a sentence says so, not a ZeroDivisionError."""
    with pytest.raises(RunError, match="every pixel of the training images has the same value"):
        recipe().fit(replace(task(tmp_path), dataset=Blank()))


def test_clean_trains_on_what_is_left_of_the_holdout(tmp_path: Path) -> None:
    """Clean keeps partial batches, selects on held-out images in evaluation mode, and sees no test image."""
    recorder = Recorder()
    recipe().fit(task(tmp_path, recorder))
    epoch = [(True, 64)] * 4 + [(False, 44)]  # 256 images, then 44 held out
    assert recorder.given == epoch * 2
    assert recorder.progress == [step / 8 for step in range(8)]


def test_official_selects_on_the_test_split_in_training_mode(tmp_path: Path) -> None:
    """Official trains on all images, then passes whole test batches and 32 images in training mode."""
    recorder = Recorder()
    recipe(selection="test", selection_pass="train").fit(task(tmp_path, recorder))
    epoch = [(True, 64)] * 4 + [(True, 44)] + [(True, 64)] + [(True, 32)]
    assert recorder.given == epoch * 2


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_selection_pass_leaks_only_in_training_mode(tmp_path: Path, mode: Any) -> None:
    """In training mode the selection pass moves the codebook, as the released code's; in evaluation mode it cannot."""
    torch.manual_seed(0)
    quantizer = CVQ(32, 8)
    work = task(tmp_path, quantizer)
    before = quantizer.codebook.detach().clone()
    training = autoencoder.ReconstructionTraining(recipe(selection="test", selection_pass=mode), work)
    training.selection_error(Few().pixels("test")[:64], 1)
    assert torch.equal(before, quantizer.codebook) == (mode == "eval")


def test_matched_variance_weighs_the_error_four_times_less(tmp_path: Path) -> None:
    """``matched`` divides by 4v, the variance on the error's own scale; ``unit`` by v."""
    weights: dict[str, float] = {}

    class Weighed(Identity):
        def objective(
            self, error: torch.Tensor, out: QuantizerOutput, pixels: int, weight: float = 1.0
        ) -> torch.Tensor:
            weights[name] = weight
            assert pixels == 784
            return super().objective(error, out, pixels, weight)

    for name in ("unit", "matched"):
        recipe(epochs=1, variance=name).fit(task(tmp_path / name, Weighed(1, 8)))
    assert weights["unit"] == pytest.approx(4 * weights["matched"])
    assert weights["unit"] == pytest.approx(1 / autoencoder.variance(Few().pixels("train")[:256]))


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    """The weights in the model after training are those of the epoch with the lowest selection error."""
    work = task(tmp_path)
    trained = recipe(epochs=4, learning_rate=0.05).fit(work)  # so fast that the last epoch is not the best
    errors = [epoch["selection_error"] for epoch in trained.history]
    best = min(range(4), key=errors.__getitem__)
    assert best != 3, errors
    held = to_unit(Few().pixels("train")[-44:])
    with torch.no_grad():
        error = torch.nn.functional.mse_loss(work.model.eval()(held)[0], held)
    assert float(error) == pytest.approx(errors[best], rel=1e-5)


class Killed(BaseException):
    """In place of the end of a process."""


def killed_at(work: Task, write: int, before: bool) -> list[str]:
    """Kill ``work`` at its ``write``-th file, before or after it is written; names of the files so far."""
    names: list[str] = []
    save = work.engine.save

    def dying(path: Path, state: dict[str, Any]) -> None:
        names.append(path.name)
        if before and len(names) == write:
            raise Killed
        save(path, state)
        if len(names) == write:
            raise Killed

    work.engine.save = dying  # type: ignore[method-assign]  # for this test
    return names


SHORT = RecipeCase("autoencoder", ReconstructionRecipe, {**ReconstructionRecipe.check_args, "epochs": 3})


def test_killed_at_any_write_the_best_epoch_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed before or after any of its writes, and resumed, a training ends with the weights of one never killed."""
    monkeypatch.setattr(checkpoint, "SHARE", math.inf)  # a checkpoint after every update

    def train(folder: Path, write: int = 0, before: bool = False) -> tuple[Task, list[str]]:
        work = SHORT.task(folder)
        work.checkpoint_interval = 0.0
        names = killed_at(work, write, before)
        SHORT.build().fit(work)
        return work, names

    whole, names = train(tmp_path / "whole")
    assert names.count("best.pt") > 1, names
    for write in range(1, len(names) + 1):
        for before in (True, False):
            folder = tmp_path / f"{write}-{before}"
            with pytest.raises(Killed):
                train(folder, write, before)
            resumed, _ = train(folder)
            for name, value in whole.model.state_dict().items():
                assert torch.equal(resumed.model.state_dict()[name], value), (write, before, name)


def test_the_best_epoch_is_written_with_a_checkpoint(tmp_path: Path) -> None:
    """However often an epoch is the best so far, its weights are written no more often than checkpoints are."""
    work = SHORT.task(tmp_path)
    work.checkpoint_interval = math.inf
    names = killed_at(work, 0, False)
    SHORT.build().fit(work)
    assert names == ["best.pt", "last.pt"]


class NanInEvaluation(Identity):
    """Its reconstructions are not a number in the evaluation passes of the epochs that are named."""

    def __init__(self, epochs: tuple[int, ...], updates: int = 4) -> None:
        super().__init__(1, 8)
        self.epochs, self.updates, self.seen = epochs, updates, 0

    def forward(self, z: torch.Tensor) -> QuantizerOutput:
        self.seen += self.training
        out = super().forward(z)
        if not self.training and self.seen // self.updates in self.epochs:
            out.z_q = out.z_q * math.nan
        return out


@pytest.mark.parametrize(("broken", "best"), [((1,), (2, 3)), ((2,), (1, 3)), ((1, 3), (2,))])
def test_the_best_finite_epoch_counts(tmp_path: Path, broken: tuple[int, ...], best: tuple[int, ...]) -> None:
    """A selection error that is NaN, in the first epoch or a later one, is kept in the history and never the best."""
    work = task(tmp_path, NanInEvaluation(broken))
    trained = recipe(epochs=3).fit(work)
    errors = {epoch["epoch"]: epoch["selection_error"] for epoch in trained.history}
    assert {epoch for epoch, error in errors.items() if math.isnan(error)} == set(broken)
    saved = work.engine.load(tmp_path / "last.pt")["progress"]
    assert saved["best_epoch"] == min(best, key=lambda epoch: errors[epoch])
    assert all(value.isfinite().all() for value in work.model.state_dict().values())


def test_no_finite_epoch_is_a_failure_that_names_it(tmp_path: Path) -> None:
    """Without a finite epoch the training ends with one sentence, not with a missing file that means damage."""
    sentence = r"selection error of NanInEvaluation is nan in epoch 1 and finite in none of 2"
    for _ in range(2):  # nor does another attempt, or a checkpoint of an earlier version, mean damage
        with pytest.raises(RunError, match=sentence):
            recipe().fit(task(tmp_path, NanInEvaluation((1, 2))))
    work = task(tmp_path, NanInEvaluation((1, 2)))
    done = autoencoder.SelectionProgress(step=8, history=[{"epoch": 1, "selection_error": math.nan}])
    optimizer = torch.optim.Adam(work.model.parameters()).state_dict()
    state = {"model": work.model.state_dict(), "optimizer": optimizer, "progress": asdict(done), "watch": None}
    work.engine.save(tmp_path / "last.pt", state)
    with pytest.raises(RunError, match=sentence):
        recipe().fit(work)


def test_every_machine_that_trained_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that resumes elsewhere lists both machines in order; one whose checkpoint lists none is read."""
    machines = [{"device": name, "cpu": name, "instructions": "AVX2", "threads": 1} for name in ("a", "b")]
    stops = iter(range(100))
    for machine in (*machines, machines[0]):
        monkeypatch.setattr(engine, "origin", lambda _, machine=machine: machine)
        try:
            trained = recipe().fit(task(tmp_path, stopped=every_third(stops)))
        except Interrupted:
            continue
    assert trained.origins == machines
    monkeypatch.undo()
    work = task(tmp_path)
    saved = work.engine.load(tmp_path / "last.pt")
    del saved["progress"]["origins"]
    work.engine.save(tmp_path / "last.pt", saved)
    assert recipe().fit(work).origins == [], "nothing was trained here"
    own = recipe().fit(task(tmp_path / "own")).origins
    assert own is not None
    assert [sorted(each) for each in own] == [["cpu", "device", "instructions", "threads"]]


@pytest.mark.parametrize("change", [{"step": "3"}, {"history": {}}, {"other": 1}])
def test_progress_of_a_wrong_type_is_damage(tmp_path: Path, change: dict[str, object]) -> None:
    """A checkpoint whose progress is not what a training keeps is Damaged, whatever it would have failed with later."""
    work = task(tmp_path)
    recipe().fit(work)
    saved = work.engine.load(tmp_path / "last.pt")
    saved["progress"].update(change)
    work.engine.save(tmp_path / "last.pt", saved)
    with pytest.raises(Damaged, match=r"last\.pt: not a checkpoint of this run"):
        recipe().fit(task(tmp_path))


def test_seeds_depend_on_purpose_and_nothing_else() -> None:
    """A seed is a function of run seed, data set, purpose and counter; words and numbers do not run together."""
    seeds = spec.seeds(42, "mnist")
    assert seeds("order", 1) == spec.seeds(42, "mnist")("order", 1)
    others = [spec.seeds(43, "mnist"), spec.seeds(42, "cifar10")]
    distinct = {seeds("order", 1), seeds("order", 2), seeds("update", 1), *(other("order", 1) for other in others)}
    assert len(distinct) == 5
    assert spec.derive("a", "b") != spec.derive("ab")
    assert spec.derive(1) != spec.derive("1")
    assert 0 <= spec.derive("a") < 2**63


@pytest.mark.parametrize(("decay", "half"), [("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)])
def test_the_rate_falls_over_all_updates(tmp_path: Path, decay: Any, half: float) -> None:
    """A decay takes the rate from the whole to (nearly) zero over the run, through one half in its middle."""
    rates: list[float] = []
    run = task(tmp_path)
    real = torch.optim.Adam.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or real(self))
        recipe(decay=decay).fit(run)
    assert rates[0] == 1e-3
    assert rates[len(rates) // 2] == pytest.approx(1e-3 * half)
    assert rates[-1] == pytest.approx(1e-3 * rate_factor(decay, 7 / 8))
