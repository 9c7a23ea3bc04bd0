"""Check that a training stops, resumes, repeats, and runs on two ranks."""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.conformance import two_ranks
from vqbench.conformance.comparison import differing
from vqbench.conformance.outcome import Check, Fail, Skip
from vqbench.conformance.recipes.case import RecipeCase, TrainingTrace
from vqbench.distributed.group import RankGroup
from vqbench.errors import RunError
from vqbench.recipe import Task
from vqbench.training import checkpoint

NOISE = 0.05  # share of weights that Adam may move by noise, since their gradients are zero but for rounding


def _whole(case: RecipeCase) -> TrainingTrace:
    """Train without a stop."""
    with tempfile.TemporaryDirectory() as folder:
        return case.train(Path(folder))


def stops_anywhere(case: RecipeCase) -> None:
    """Stopped after every update, it resumes and ends with the same bits.

    Each attempt starts from its folder alone, as another process would.
    """
    whole = _whole(case)
    updates = len(whole.progress)
    with tempfile.TemporaryDirectory() as folder:
        parts = case.train(Path(folder), stop=lambda update: True, noise=50)
    if parts.stops < updates - 1:
        raise Fail(
            f"asked to stop after each of {updates} updates, it stopped {parts.stops} times",
            "poll task.stopped() after every update; if it is true, save to task.folder and raise Interrupted",
        )
    _require_equal(whole, parts, f"stopped {parts.stops} times, it ends")
    with tempfile.TemporaryDirectory() as folder:
        once = case.train(Path(folder), stop=_once(updates // 2), noise=90)
    _require_equal(whole, once, f"stopped after update {updates // 2}, it ends")


def _once(at: int) -> Any:
    asked: list[int] = []

    def stop(update: int) -> bool:
        asked.append(update)
        return update == at and asked.count(at) == 1

    return stop


def _require_equal(first: TrainingTrace, second: TrainingTrace, what: str) -> None:
    if names := differing(first.values(), second.values()):
        raise Fail(
            f"{what} with other {', '.join(names[:4])}",
            "save all that training changes (weights, optimizer, counters, sums of an epoch), and seed every update by "
            "task.seeds and its number, never by what was drawn before",
        )


def one_seed_one_training(case: RecipeCase) -> None:
    """The same seeds give the same bits, whatever was drawn before.

    Other seeds give other weights. Python's and numpy's generators are left alone.
    """
    foreign = random.getstate(), np.random.get_state()[1].tobytes()  # type: ignore[index]  # of the legacy form
    traces = []
    for seed, noise in ((1, 0), (1, 1), (2, 0)):
        with tempfile.TemporaryDirectory() as folder:
            traces.append(case.train(Path(folder), seed=seed, noise=noise))
    if (random.getstate(), np.random.get_state()[1].tobytes()) != foreign:  # type: ignore[index]  # likewise
        raise Fail("draws from Python's or numpy's generator", "draw from torch's, seeded by task.seeds")
    if names := differing(traces[0].values(), traces[1].values()):
        raise Fail(
            f"trained twice with the same seeds, {', '.join(names[:4])} differ",
            "seed torch's generator by task.seeds before every draw, for example task.engine.seed",
        )
    if not differing(traces[0].best, traces[2].best):
        raise Fail("other seeds train the same weights", "take every seed from task.seeds")


def trains_something(case: RecipeCase) -> None:
    """Training changes the weights; a second stage leaves its first as it was."""
    whole = _whole(case)
    with tempfile.TemporaryDirectory() as folder:
        before = case.task(Path(folder)).model.state_dict()
    changed = differing(before, whole.model)
    if case.cls.second_stage and changed:
        raise Fail(f"the autoencoder changed: {', '.join(changed[:4])}", "train the generator alone")
    if not case.cls.second_stage and not changed:
        raise Fail("no weight changed", "call the optimizer's step(), on the parameters of task.model")


def on_rank(case: RecipeCase, rank: int, world: int) -> dict[str, Any]:
    """Train as one of ``world`` ranks, in the folder that rank 0 names."""
    group = RankGroup(rank, world, rank, world)
    _ = group._idle  # all ranks must create it, at the same time
    with tempfile.TemporaryDirectory() as own:
        folder = group.from_first_rank(lambda: own)
        trace = case.train(Path(folder), stop=_once(2), group=group)
        group.gather(None)  # the folder of rank 0 is still in use
    return {name: value for name, value in trace.values().items() if isinstance(value, Tensor)} | {
        "stops": torch.tensor(trace.stops)
    }


def two_ranks_train_as_one(case: RecipeCase) -> None:
    """Two real ranks, stopped and resumed, end equal, and where one process does."""
    if not case.cls.distributed:
        raise Skip("declares distributed = False: it cannot be trained on several ranks")
    two_ranks.require(case)
    whole = {name: value for name, value in _whole(case).values().items() if isinstance(value, Tensor)}
    first, second = two_ranks.both(on_rank, case)
    if names := differing(first, second):
        raise Fail(f"ranks diverged: {', '.join(names[:4])}", "use task.engine.setup, batch and backward")
    stops = int(first.pop("stops"))
    if stops != 1:
        raise Fail(f"asked once to stop, it stopped {stops} times", "let rank 0 decide, and broadcast its decision")
    share = _share_apart(first, whole)
    if share > NOISE:
        raise Fail(
            f"two ranks end with other weights than one process, at {share:.0%} of them",
            "take this rank's part of each batch by task.engine.batch, and losses as means over it",
        )


def _share_apart(first: dict[str, Tensor], second: dict[str, Tensor]) -> float:
    """Return the share of all numbers that differ by more than rounding."""
    far = [
        ~torch.isclose(first[name].double(), value.double(), rtol=1e-4, atol=1e-5).flatten()
        for name, value in second.items()
    ]
    return float(torch.cat(far).double().mean())


def nan_is_an_error(case: RecipeCase) -> None:
    """A loss that is not finite is a RunError that says so."""
    recipe = case.build()
    with tempfile.TemporaryDirectory() as folder:
        task = case.task(Path(folder))
        _poison(recipe, task)
        try:
            recipe.fit(task)
        except RunError as error:
            if not any(word in str(error).lower() for word in ("nan", "inf", "finite", "diverged")):
                raise Fail(f"the error names no NaN: {error}", "name the loss and the update") from error
            return
    raise Fail("a NaN in every loss goes unnoticed", "raise RunError where a loss is not finite, with its update")


def _poison(recipe: Any, task: Task) -> None:
    """Let every loss be NaN: by the decoder, or the generator of a second stage."""
    if not recipe.second_stage:
        with torch.no_grad():
            task.model.backbone.last_layer().fill_(math.nan)
        return
    build = recipe.generator

    def poisoned(*args: Any) -> Any:
        generator = build(*args)
        with torch.no_grad():
            next(generator.parameters()).fill_(math.nan)
        return generator

    recipe.generator = poisoned


def writes_all_of_it(case: RecipeCase) -> None:
    """``best.pt`` has the weights to evaluate, and no other file is half-written.

    Asked again, a finished training returns the same without training.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        first = case.train(folder)
        left = [path.name for path in folder.rglob("*") if path.suffix == ".tmp" or path.name.startswith(".")]
        if left:
            raise Fail(f"{', '.join(left)} is left in the folder", "write checkpoints by task.engine.save")
        if not case.cls.second_stage and (names := differing(first.best, first.model)):
            raise Fail(
                f"best.pt has another {', '.join(names[:4])} than the model",
                "leave the selected weights in the model and, as its state_dict, in best.pt",
            )
        if case.cls.second_stage:
            task = case.task(folder)
            generator = case.build().generator(task.model, task.dataset.channels, task.dataset.size)  # type: ignore[attr-defined]  # of a second stage
            generator.load_state_dict(checkpoint.read(folder / "best.pt"))
        again = case.train(folder)
    if again.progress:
        raise Fail("asked again, a finished training trains on", "save the last update, and return where all are done")
    _require_equal(first, again, "asked again, it ends")


CHECKS = tuple(
    map(
        Check,
        (
            trains_something,
            stops_anywhere,
            one_seed_one_training,
            two_ranks_train_as_one,
            nan_is_an_error,
            writes_all_of_it,
        ),
    )
)
