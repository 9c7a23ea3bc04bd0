"""What this training does differently, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from vqbench.errors import counted
from vqbench.images import to_unit
from vqbench.quantizer import Quantizer
from vqbench.recipe import Recipe, Task, Trained, too_large
from vqbench.training.checkpoint import LossProgress
from vqbench.training.loop import Stateful, Training, TrainingLoop


class RecipeTemplate(Recipe):
    """AdamW on the quantizer's objective of the squared error; put yours here.

    The last weights are kept, without selection of an epoch.
    """

    VERSION = 1  # raise it when a change of the code changes the weights
    distributed = True  # may run on several ranks, each with a part of every batch
    scaling = ("epochs", "subset")  # arguments that change how many updates there are, not what one costs

    # All arguments are keywords with a bounded type: together they name a run. The options --epochs, --batch-size and
    # --subset of the command line set those of their name.
    def __init__(
        self,
        *,
        epochs: PositiveInt = 6,
        batch_size: PositiveInt = 64,
        learning_rate: PositiveFloat = 1e-3,
        weight_decay: NonNegativeFloat = 1e-4,
        subset: PositiveInt | None = None,
    ) -> None:
        self.epochs, self.batch_size, self.subset = epochs, batch_size, subset
        self.learning_rate, self.weight_decay = learning_rate, weight_decay

    # Facts for plans, tables and progress bars, which never read a recipe's arguments.
    def images(self, train: int, holdout: int) -> int:
        return min(train, self.subset or train)

    def updates(self, images: int) -> int:
        return ceil(images / self.batch_size) * self.epochs

    def images_shown(self, images: int) -> int:
        return images * self.epochs

    def about(self) -> str:
        return f"{counted(self.epochs, 'epoch')}, batch {self.batch_size}, learning rate {self.learning_rate:g}"

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        return too_large(self.batch_size, train, self.subset)

    def fit(self, task: Task) -> Trained:
        return TrainingLoop(task, RecipeTemplateTraining(self, task)).run()


class RecipeTemplateTraining(Training):
    """One training, as the loop needs it.

    The loop owns what no method should decide anew: the order of images, the seed of every update, checkpoints,
    stopping and resuming, the check for NaN. What changes in training must therefore be in ``parts``.
    """

    quantizer: Quantizer

    def __init__(self, recipe: RecipeTemplate, task: Task) -> None:
        self.recipe, self.task = recipe, task
        self.pixels = task.dataset.pixels("train")  # (N, C, S, S) uint8
        self.images = recipe.images(len(self.pixels), 0)
        self.per_epoch, self.total = ceil(self.images / recipe.batch_size), recipe.updates(self.images)
        self.progress = LossProgress()
        self.quantizer = task.model.quantizer
        self.owner = type(self.quantizer).__name__  # named where a loss is not finite
        self.optimizer = torch.optim.AdamW(
            task.model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.model = task.engine.setup(task.model)  # on the device, equal on all ranks

    def parts(self) -> Mapping[str, Stateful]:
        return {"model": self.task.model, "optimizer": self.optimizer}

    def replicas(self) -> Mapping[str, nn.Module]:
        return {self.owner: self.task.model}  # checked to stay equal on all ranks

    def begin(self) -> None:
        self.model.train()

    def start_epoch(self, epoch: int, order: Tensor, position: int) -> None:
        self.order = order

    def update(self, step: int, position: int) -> Tensor:
        task, size = self.task, self.recipe.batch_size
        index = self.order[position * size : (position + 1) * size]  # (B,)
        with task.engine.batch(len(index), task.model) as own:  # this rank's part of the batch
            x = to_unit(self.pixels[index[own]].to(task.engine.device))  # (B, C, S, S) in [-1, 1]
            self.quantizer.anneal(step / self.total)
            reconstruction, out = self.model(x)
            error = F.mse_loss(reconstruction, x)
            loss = self.quantizer.objective(error, out, x[0].numel())
            self.optimizer.zero_grad()
            task.engine.backward(loss)  # adds up the gradients of all ranks
            self.optimizer.step()
            task.monitor.codes(out.codes)
            return task.engine.mean(loss.detach()[None])  # (1,), for the history

    def finish(self) -> None:
        self.task.engine.save(self.task.folder / "best.pt", self.task.model.state_dict())
