"""Recipes with one planted fault each, by the check that must detect it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.errors import RunError
from vqbench.images import to_unit
from vqbench.recipe import Recipe, Task, Trained, too_large
from vqbench.training.checkpoint import LossProgress
from vqbench.training.loop import Stateful, Training, TrainingLoop


class HonestSGD(Recipe):
    """Stochastic gradient descent with momentum on the mean squared error."""

    distributed = True
    training: ClassVar[type[SGDTraining]]

    def __init__(self, *, epochs: int = 1, batch_size: int = 4, learning_rate: float = 0.05) -> None:
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate

    def updates(self, images: int) -> int | None:
        return math.ceil(images / self.batch_size) * self.epochs

    def images_shown(self, images: int) -> int | None:
        return images * self.epochs

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        return too_large(self.batch_size, train, None)

    def fit(self, task: Task) -> Trained:
        return TrainingLoop(task, self.training(self, task)).run()


class SGDTraining(Training):
    """One training by stochastic gradient descent."""

    def __init__(self, recipe: HonestSGD, task: Task) -> None:
        self.recipe, self.task = recipe, task
        self.pixels: Any = task.dataset.pixels("train")
        self.images = len(self.pixels)
        self.per_epoch = math.ceil(self.images / recipe.batch_size)
        self.total = self.per_epoch * recipe.epochs
        self.progress = LossProgress()
        self.quantizer, self.owner = task.model.quantizer, type(task.model.quantizer).__name__
        self.optimizer = torch.optim.SGD(task.model.parameters(), lr=recipe.learning_rate, momentum=0.9)
        self.model = task.engine.setup(task.model)

    def parts(self) -> Mapping[str, Stateful]:
        return {"model": self.task.model, "optimizer": self.optimizer}

    def begin(self) -> None:
        self.model.train()

    def start_epoch(self, epoch: int, order: Tensor, position: int) -> None:
        self.order = order

    def update(self, step: int, position: int) -> Tensor:
        index = self.order[position * self.recipe.batch_size : (position + 1) * self.recipe.batch_size]
        with self.task.engine.batch(len(index), self.task.model) as own:
            x = self.noisy(to_unit(self.pixels[index[self.part(own)]]))
            reconstruction, out = self.model(x)
            loss = self.quantizer.objective(F.mse_loss(reconstruction, x), out, x[0].numel())
            self.optimizer.zero_grad()
            self.backward(loss)
            self.optimizer.step()
            return self.task.engine.mean(loss.detach()[None])

    def noisy(self, x: Tensor) -> Tensor:
        return x

    def part(self, own: slice) -> slice:
        return own

    def backward(self, loss: Tensor) -> None:
        self.task.engine.backward(loss)

    def finish(self) -> None:
        self.task.engine.save(self.task.folder / "best.pt", self.task.model.state_dict())


HonestSGD.training = SGDTraining


class Unnamed(HonestSGD):
    """Arguments that a run key cannot name."""

    def __init__(self, epochs: int = 1, **options: Any) -> None:
        super().__init__(epochs=epochs)


class Miscounts(HonestSGD):
    """Says one update too many."""

    def updates(self, images: int) -> int:
        return 1 + (super().updates(images) or 0)


class NoSentence(HonestSGD):
    """Refuses data without a word."""

    def misfit(self, train: int, test: int, holdout: int, size: int) -> Any:
        return train < self.batch_size or None


class NoHistory(HonestSGD):
    """Keeps no history."""

    def fit(self, task: Task) -> Trained:
        return Trained(super().fit(task).seconds)


class StandsStill(HonestSGD):
    """Trains with a rate of zero."""

    def __init__(self, *, epochs: int = 1, batch_size: int = 4) -> None:
        super().__init__(epochs=epochs, batch_size=batch_size, learning_rate=0.0)


class ForgetsMomentum(SGDTraining):
    def parts(self) -> Mapping[str, Stateful]:
        return {"model": self.task.model}


class LosesMomentum(HonestSGD):
    """Keeps no state of its optimizer."""

    training = ForgetsMomentum


class DeafToStops(HonestSGD):
    """Never polls whether to stop."""

    def fit(self, task: Task) -> Trained:
        task.stopped = lambda: False
        return super().fit(task)


class DrawsOnce(SGDTraining):
    """Draws from a generator that is seeded by what came before."""

    def __init__(self, recipe: HonestSGD, task: Task) -> None:
        super().__init__(recipe, task)
        self.generator = torch.Generator().manual_seed(torch.initial_seed())

    def noisy(self, x: Tensor) -> Tensor:
        return x + 0.1 * torch.randn(x.shape, generator=self.generator)


class Unseeded(HonestSGD):
    """Depends on the state of the default generator."""

    training = DrawsOnce


class AloneGradients(SGDTraining):
    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]


class Diverges(HonestSGD):
    """Exchanges no gradients between ranks."""

    training = AloneGradients


class FirstPart(SGDTraining):
    def part(self, own: slice) -> slice:
        return slice(0, own.stop - own.start)


class SameImages(HonestSGD):
    """All ranks train on the first part of a batch."""

    training = FirstPart


class HidesNaN(HonestSGD):
    """Ends without an error where the loss is NaN."""

    def fit(self, task: Task) -> Trained:
        try:
            return super().fit(task)
        except RunError:
            return Trained(1.0)


class OtherBest(HonestSGD):
    """Its best.pt lacks the codebook."""

    def fit(self, task: Task) -> Trained:
        trained = super().fit(task)
        task.engine.save(task.folder / "best.pt", task.model.backbone.state_dict())
        return trained


class LeavesFiles(HonestSGD):
    """Leaves a half-written file."""

    def fit(self, task: Task) -> Trained:
        trained = super().fit(task)
        (task.folder / "best.tmp").write_bytes(b"")
        return trained


class TrainsAgain(HonestSGD):
    """Forgets that it is done."""

    def fit(self, task: Task) -> Trained:
        trained = super().fit(task)
        (task.folder / "last.pt").unlink()
        return trained


FAULTS: dict[str, tuple[type[Recipe], ...]] = {
    "recipe_arguments": (Unnamed,),
    "facts_agree": (Miscounts,),
    "small_data_are_refused": (NoSentence,),
    "history_is_complete": (NoHistory,),
    "trains_something": (StandsStill,),
    "stops_anywhere": (LosesMomentum, DeafToStops),
    "one_seed_one_training": (Unseeded,),
    "two_ranks_train_as_one": (Diverges, SameImages),
    "nan_is_an_error": (HidesNaN,),
    "writes_all_of_it": (OtherBest, LeavesFiles, TrainsAgain),
}
HONEST = (HonestSGD,)
