"""The recipe that second stages share: a generator of latents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vqbench.errors import RunError, UsageError, counted
from vqbench.recipe import SecondStage, Task, Trained, too_large
from vqbench.training.checkpoint import LossProgress
from vqbench.training.ema import WeightAverage
from vqbench.training.engine import Precision
from vqbench.training.latents.cache import LatentEncoder, forget
from vqbench.training.loop import Stateful, Training, TrainingLoop


class LatentRecipe(SecondStage):
    """AdamW at a constant rate, and a moving average of the weights.

    The average is a ← d·a + (1 − d)·w with d = min(``ema``, (1 + n)/(10 + n)) at update n. Random numbers of an update
    derive from the run's seed and the update's number, so that a training that was stopped anywhere ends with the same
    weights; :meth:`batch` draws the same numbers on all ranks.
    """

    distributed = True
    LATER: ClassVar = {"epochs": None}
    scaling = ("steps", "epochs", "subset")
    replaces: ClassVar = {"epochs": ("steps",)}

    def __init__(
        self,
        steps: int | None,
        epochs: int | None,
        batch_size: int,
        learning_rate: float,
        ema: float,
        flips: bool,
        subset: int | None,
        precision: Precision,
    ) -> None:
        if (steps is None) == (epochs is None):
            raise UsageError("a second stage needs either steps (updates) or epochs")
        self.steps, self.epochs, self.batch_size, self.learning_rate = steps, epochs, batch_size, learning_rate
        self.ema, self.mirrored, self.subset, self.precision = ema, flips, subset, precision

    def images(self, train: int, holdout: int) -> int:
        return min(train, self.subset or train)

    def updates(self, images: int) -> int:
        return self.steps if self.steps is not None else images // self.batch_size * (self.epochs or 0)

    def images_shown(self, images: int) -> int:
        return self.updates(images) * self.batch_size

    def about(self) -> str:
        rate = f"learning rate {self.learning_rate:g}"
        long = counted(self.epochs or 0, "epoch") if self.steps is None else counted(self.steps, "update")
        return f"{long}, batch {self.batch_size}, {rate}, {self.precision}"

    def standardize(self, generator: Any, moments: Callable[[bool], tuple[Tensor, Tensor]]) -> None:
        """Fit the untrained generator to mean and deviation of the latents.

        ``moments(by_channel)`` returns them.
        """

    def batch(self, generator: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """Return the inputs of the loss, each (B, ...), for latents (B, ...).

        All random numbers are drawn here.
        """
        raise NotImplementedError

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """Return the mean loss () over this rank's part of the inputs."""
        raise NotImplementedError

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        return too_large(self.batch_size, train, self.subset)

    def fit(self, task: Task) -> Trained:
        return TrainingLoop(task, LatentTraining(self, task)).run()


class LatentTraining(Training):
    """AdamW on batches of latents, which are encoded once, at the start."""

    progress: LossProgress
    average: WeightAverage

    def __init__(self, recipe: LatentRecipe, task: Task) -> None:
        self.recipe, self.task = recipe, task
        task.engine.seed(task.seeds("second stage"))
        self.generator = recipe.generator(task.model, task.dataset.channels, task.dataset.size)
        self.pixels = task.dataset.pixels("train")  # (N, C, S, S) uint8
        if wrong := too_large(recipe.batch_size, len(self.pixels), recipe.subset):
            raise RunError(wrong)
        self.images = min(len(self.pixels), recipe.subset or len(self.pixels))
        self.per_epoch = self.images // recipe.batch_size  # images that fill no batch wait for another order
        self.total = recipe.updates(self.images)
        self.progress = LossProgress()
        self.owner = type(recipe).__name__
        self.optimizer = torch.optim.AdamW(self.generator.parameters(), lr=recipe.learning_rate)
        self.model = task.engine.setup(self.generator)
        self.average = WeightAverage(self.generator, recipe.ema)

    def parts(self) -> Mapping[str, Stateful]:
        return {"generator": self.generator, "average": self.average, "optimizer": self.optimizer}

    def replicas(self) -> Mapping[str, nn.Module]:
        return {"the generator": self.generator}

    def begin(self) -> None:
        recipe, group = self.recipe, self.task.engine.group
        rows = LatentEncoder(self.task, self.pixels, self.images, self.generator, recipe.mirrored).rows()
        if self.progress.step == 0:  # all ranks take the first one's moments, to be equal to the last bit
            recipe.standardize(
                self.generator, lambda by_channel: group.from_first_rank(lambda: rows.moments(by_channel), patient=True)
            )
        self.rows = rows
        self.model.train()

    def start_epoch(self, epoch: int, order: Tensor, position: int) -> None:
        self.order = order

    def update(self, step: int, position: int) -> Tensor:
        recipe, task, size = self.recipe, self.task, self.recipe.batch_size
        index = self.order[position * size : (position + 1) * size]  # (B,)
        batch = recipe.batch(self.generator, self.rows.draw(index))
        if task.engine.group.size > 1:  # dropout, drawn from here on, is of a rank's own images
            task.engine.seed(task.seeds("update", step, task.engine.group.rank))
        with task.engine.batch(len(index), self.generator) as own:
            loss = recipe.loss(self.model, *(part[own] for part in batch))
            self.optimizer.zero_grad()
            task.engine.backward(loss)
            self.optimizer.step()
            return task.engine.mean(loss.detach()).reshape(1)

    def finish(self) -> None:
        task = self.task
        self.generator.load_state_dict(self.average.averaged_state())
        task.engine.save(task.folder / "best.pt", self.generator.state_dict())
        task.engine.group.from_first_rank(lambda: forget(task.folder))
