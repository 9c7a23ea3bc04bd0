"""Recipes that are trained on a pretended GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.pretended_gpu import PretendedGpu
from vqbench import registry
from vqbench.conformance.recipes.case import RecipeCase
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.recipe import Task
from vqbench.training.engine import Engine


@dataclass(frozen=True)
class GpuRecipeCase(RecipeCase):
    """A recipe that trains on ``cuda``."""

    def task(self, folder: Path, seed: int = 1, group: RankGroup = ALONE) -> Task:
        task = super().task(folder, seed, group)
        task.engine = Engine("cuda", self.build().precision, group)
        task.model.to(task.engine.device)
        return task


def case(kind: type[RecipeCase], name: str) -> RecipeCase:
    """Return the recipe ``name`` as a case of this ``kind``, with its usual arguments."""
    cls = registry.load("recipes", name)
    return kind(name, cls, kind.usual_args(cls))


@contextmanager
def watched_calls(gpu: PretendedGpu, owner: type[Any], method: str) -> Iterator[None]:
    """Watch the device within each call of ``owner.method``."""
    plain = getattr(owner, method)

    def watched(*args: Any, **kwargs: Any) -> Any:
        with gpu.watched():
            return plain(*args, **kwargs)

    with mock.patch.object(owner, method, watched):
        yield
