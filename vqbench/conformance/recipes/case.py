"""A recipe under test: a training of seconds, which can be stopped anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from vqbench import registry, spec
from vqbench.backbone import Autoencoder
from vqbench.conformance.case import Case
from vqbench.conformance.comparison import state
from vqbench.conformance.metrics.case import waves
from vqbench.dataset import Dataset, Split
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import Interrupted
from vqbench.recipe import Recipe, Task, Trained
from vqbench.registry import Kind
from vqbench.training import checkpoint
from vqbench.training.codebook_monitor import CodebookMonitor
from vqbench.training.engine import Engine

SHORT = {"epochs": 2, "batch_size": 6}  # for a recipe without check_args, where it takes them
MOST_STOPS = 100  # of one training; a recipe that goes on is not resuming
BACKBONE = "conv", {"hidden": 16, "residual_hidden": 8}
QUANTIZER = "vq", {"num_codes": 16, "dim": 8}


class CheckedImages(Dataset):
    """Fourteen training and six test images of 16 pixels."""

    title, source, licence = "Waves", "drawn here", "CC0"
    channels, size, holdout = 3, 16, 2
    counts: ClassVar[dict[Split, int]] = {"train": 14, "test": 6}

    def pixels(self, split: Split) -> Tensor:
        images = waves(self.counts[split], self.channels, self.size, first=0 if split == "train" else 500)
        return (255 * images).round().byte()


@dataclass
class TrainingTrace:
    """What a training left behind, and what it called on the way."""

    trained: Trained
    model: dict[str, Any]  # state of the autoencoder
    best: dict[str, Any]  # content of best.pt
    progress: list[tuple[int, int]] = field(default_factory=list)
    epochs: list[Mapping[str, Any]] = field(default_factory=list)
    stops: int = 0

    def values(self) -> dict[str, Any]:
        """Return all that two trainings of the same run have in common."""
        history = [{name: each[name] for name in sorted(each)} for each in self.trained.history]
        return {**self.model, **{f"best.pt: {name}": each for name, each in flat(self.best)}, "history": history}


@dataclass(frozen=True)
class RecipeCase(Case):
    """One recipe with the arguments of a short training."""

    kind: ClassVar[Kind] = "recipes"

    @classmethod
    def usual_args(cls, plugin: type[Any]) -> dict[str, Any]:
        taken = inspect.signature(plugin).parameters
        return super().usual_args(plugin) or {name: value for name, value in SHORT.items() if name in taken}

    def build(self) -> Recipe:
        """Construct the recipe."""
        return cast(Recipe, self.cls(**self.args))

    def model(self, seeds: spec.Seeds) -> Autoencoder:
        """Build the autoencoder of a run with these seeds."""
        torch.manual_seed(seeds("backbones"))
        name, sizes = BACKBONE
        backbone = registry.create("backbones", name, channels=CheckedImages.channels, dim=QUANTIZER[1]["dim"], **sizes)
        torch.manual_seed(seeds("quantizers"))
        model = Autoencoder(backbone, registry.create("quantizers", QUANTIZER[0], **QUANTIZER[1]))
        return model.eval().requires_grad_(False) if self.cls.second_stage else model

    def task(self, folder: Path, seed: int = 1, group: RankGroup = ALONE) -> Task:
        """Return a run that is ready to be trained in ``folder``."""
        seeds = spec.seeds(seed, "check")
        engine = Engine("cpu", self.build().precision, group)
        return Task(self.model(seeds), CheckedImages(), seeds, engine, folder, CodebookMonitor())

    def train(
        self,
        folder: Path,
        stop: Callable[[int], bool] = lambda update: False,
        seed: int = 1,
        group: RankGroup = ALONE,
        noise: int = 0,
    ) -> TrainingTrace:
        """Train to the end, resuming after each stop as another process would.

        ``stop``: called after each update with its number, over all attempts. ``noise``: seed of the default generator
        before each attempt, on which nothing may depend.
        """
        progress: list[tuple[int, int]] = []
        epochs: list[Mapping[str, Any]] = []
        for stops in range(MOST_STOPS):
            task = self.task(folder, seed, group)
            task.progress = lambda done, total: progress.append((done, total))
            task.on_epoch = epochs.append
            begun = len(progress)
            task.stopped = lambda begun=begun: len(progress) > begun and stop(progress[-1][0])  # type: ignore[misc]  # bound now
            torch.manual_seed(noise + stops)
            try:
                trained = self.build().fit(task)
            except Interrupted:
                continue
            best = checkpoint.read(folder / "best.pt")
            return TrainingTrace(trained, state(task.model), best, progress, epochs, stops)
        raise RuntimeError(f"stopped {MOST_STOPS} times without an end: it does not resume from its folder")


def flat(content: Any, name: str = "") -> list[tuple[str, Any]]:
    """Return all values of nested mappings, each with its path."""
    if not isinstance(content, Mapping):
        return [(name, content)]
    return [each for key, value in content.items() for each in flat(value, f"{name}.{key}".lstrip("."))]
