"""Recipes with captured updates on a pretended GPU: whole trainings, previews, checkpoints, precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from tests.support.gpu_recipe import GpuRecipeCase
from tests.support.pretended_gpu import PretendedGpu
from tests.support.pretended_graph import pretended_graphs
from vqbench import registry, spec
from vqbench.conformance.recipes.case import RecipeCase, TrainingTrace
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.recipe import Task
from vqbench.training import checkpoint
from vqbench.training.capture import captured_update
from vqbench.training.capture.captured_update import ALIKE, UpdateCapture

pytestmark = pytest.mark.integration

NEVER = 10**9  # updates that must be alike: none is captured
EPOCHS, WHOLE = 4, 2  # whole batches of 5 in an epoch of 12 images, before one of 2


@dataclass(frozen=True)
class CapturedCase(GpuRecipeCase):
    """A recipe that trains on ``cuda`` by captured updates."""

    captured: tuple[bool, ...] = (True, True)  # whether each attempt is
    captures: list[UpdateCapture | None] = field(default_factory=list)

    def task(self, folder: Path, seed: int = 1, group: RankGroup = ALONE) -> Task:
        task = super().task(folder, seed, group)
        if self.captured[len(self.captures)]:
            task.capture = UpdateCapture(self.build(), task.model.quantizer, task.engine)
        self.captures.append(task.capture)
        return task


def case(name: str = "autoencoder", captured: tuple[bool, ...] = (True, True), **args: Any) -> CapturedCase:
    """A short training with falling rates, and previews in training mode where the recipe has them."""
    cls = registry.load("recipes", name)
    usual = {**RecipeCase.usual_args(cls), "epochs": EPOCHS, "batch_size": 5, "decay": "linear", **args}
    if "selection_pass" in usual:
        usual["selection_pass"] = "train"
    return CapturedCase(name, cls, usual, captured=captured)


@contextmanager
def pretended(alike: int = ALIKE) -> Iterator[None]:
    with PretendedGpu() as gpu, pretended_graphs(gpu), mock.patch.object(captured_update, "ALIKE", alike):
        yield


def trained(subject: RecipeCase, folder: Path, alike: int = ALIKE, **how: Any) -> TrainingTrace:
    with pretended(alike):
        trace = subject.train(folder, **how)
        trace.model = {name: value.cpu() for name, value in trace.model.items()}
        return trace


def different(one: TrainingTrace, other: TrainingTrace) -> list[str]:
    """The values by which two trainings differ."""
    a, b = one.values(), other.values()
    tensors = {name for name, value in a.items() if isinstance(value, torch.Tensor)}
    return [name for name in a if not (torch.equal(a[name], b[name]) if name in tensors else a[name] == b[name])]


@pytest.mark.parametrize(
    ("name", "args"), [("autoencoder", {"precision": "bf16"}), ("atomic", {}), ("swap", {})], ids=str
)
def test_replays_give_the_weights_of_single_updates(name: str, args: dict[str, Any], tmp_path: Path) -> None:
    """Replayed whole batches, with partial ones and previews between them, end with the same bits and history."""
    subject = case(name=name, **args)
    captured = trained(subject, tmp_path / "captured")
    assert not different(trained(subject, tmp_path / "single", NEVER), captured)
    capture, never = subject.captures
    assert capture
    assert never
    assert (capture.refusal, never.refusal, never.replayed) == (None, None, 0)
    assert EPOCHS * WHOLE - capture.replayed in (ALIKE, ALIKE + 1, ALIKE + 2)


def test_checkpoints_are_those_of_a_plain_adam(tmp_path: Path) -> None:
    """Captured and plain updates resume checkpoints of each other.

    A captured training that is stopped and resumed ends with the same bits. Against plain updates, the numbers of Adam
    that are on the device change weights by rounding: by less than a thousandth of what the largest one moved.
    """
    eager = trained(case(captured=(False,)), tmp_path / "eager").model
    ends = {}
    for kinds in ((True,), (True, True), (True, False), (False, True)):
        stops = [EPOCHS * 3 - 1] * (len(kinds) > 1)  # the update before the last one, a replay
        ends[kinds] = trained(case(captured=kinds), tmp_path / str(kinds), stop=lambda done, at=stops: done in at)
        assert ends[kinds].stops == len(stops)
    assert not different(ends[(True,)], ends[True, True])
    start = case().model(spec.seeds(1, "check")).state_dict()
    moved = max(float((start[name] - eager[name]).abs().max()) for name in eager)
    for end in ends.values():
        assert 0 < max(float((end.model[name] - eager[name]).abs().max()) for name in eager) < 1e-3 * moved
    groups = [
        checkpoint.read(tmp_path / name / "last.pt")["optimizer"]["param_groups"] for name in ("eager", "(True,)")
    ]
    assert groups[0][0].pop("lr") == pytest.approx(groups[1][0].pop("lr"))
    assert groups[0] == groups[1]
