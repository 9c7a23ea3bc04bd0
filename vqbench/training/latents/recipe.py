"""The training loop that second stages share: over what the trained autoencoder makes of the images, with an average
of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.errors import Interrupted, RunError, counted
from vqbench.recipe import SecondStage, Task, Trained, too_large
from vqbench.training.clock import Clock, restored
from vqbench.training.engine import Precision
from vqbench.training.latents.cache import LatentEncoder, forget
from vqbench.training.latents.generator import Generator


@dataclass
class Progress:
    """What must be kept, besides the weights, so that a training goes on as if it had never stopped."""

    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0  # sum over the epoch's updates so far
    history: list[dict[str, Any]] = field(default_factory=list)
    origins: list[dict[str, Any]] = field(default_factory=list)  # machines that trained part of it


class LatentRecipe(SecondStage):
    """AdamW at a constant rate on the mean loss of batches of rows; kept is the moving average of the weights.

    The average is a ← d·a + (1 − d)·w with d = min(``ema``, (1 + n)/(10 + n)) at update n. Random numbers of an update
    derive from the run's seed and the update's number, so that a run that was stopped anywhere ends with the same
    weights; what :meth:`batch` draws is the same on all ranks.
    """

    distributed = True
    scaling = ("steps", "subset")

    def __init__(
        self,
        steps: int,
        batch_size: int,
        learning_rate: float,
        ema: float,
        flips: bool,
        subset: int | None,
        precision: Precision,
    ) -> None:
        self.steps, self.batch_size, self.learning_rate = steps, batch_size, learning_rate
        self.ema, self.mirrored, self.subset, self.precision = ema, flips, subset, precision

    def images(self, train: int, holdout: int) -> int:
        return min(train, self.subset or train)

    def updates(self, images: int) -> int:
        return self.steps

    def images_shown(self, images: int) -> int:
        return self.steps * self.batch_size

    def about(self) -> str:
        rate = f"learning rate {self.learning_rate:g}"
        return f"{counted(self.steps, 'update')}, batch {self.batch_size}, {rate}, {self.precision}"

    def standardize(self, generator: Any, moments: Callable[[bool], tuple[Tensor, Tensor]]) -> None:
        """Fit the untrained generator to the rows' mean and deviation, of all numbers or by channel."""

    def batch(self, generator: Any, rows: Tensor) -> tuple[Tensor, ...]:
        """What the loss of ``rows`` (B, ...) needs, whose first axes are the images: all random numbers included."""
        raise NotImplementedError

    def loss(self, model: nn.Module, *batch: Tensor) -> Tensor:
        """The mean over a rank's own images, ()."""
        raise NotImplementedError

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        return too_large(self.batch_size, train, self.subset)

    def fit(self, task: Task) -> Trained:
        task.engine.seed(task.seeds("second stage"))
        generator = self.generator(task.model, task.dataset.channels, task.dataset.size)
        pictures = task.dataset.pixels("train")  # (N, C, S, S) uint8
        count = min(len(pictures), self.subset or len(pictures))
        if wrong := too_large(self.batch_size, len(pictures), self.subset):
            raise RunError(wrong)
        task.engine.group.from_first_rank(lambda: task.folder.mkdir(parents=True, exist_ok=True))
        optimizer: torch.optim.Optimizer = torch.optim.AdamW(generator.parameters(), lr=self.learning_rate)
        model, optimizer = task.engine.setup(generator, optimizer)
        average = {name: value.detach().clone() for name, value in generator.named_parameters()}
        state = self._restore(task, generator, average, optimizer)

        updates = count // self.batch_size  # an epoch's; images that fill no batch wait for another order
        clock = Clock(state.seconds)
        if state.step < self.steps:  # else it was stopped while what it makes was measured
            task.engine.add_origin(state.origins)
            rows = LatentEncoder(task, pictures, count, generator, self.mirrored).rows()
        if state.step == 0:
            alike = task.engine.group.from_first_rank  # to the last bit, on all ranks
            self.standardize(generator, lambda by_channel: alike(lambda: rows.moments(by_channel), patient=True))
        total = torch.tensor(state.loss, device=task.engine.device)  # read once an epoch
        model.train()
        while state.step < self.steps:
            epoch, position = divmod(state.step, updates)
            index = self._order(task, epoch, count)[position * self.batch_size :][: self.batch_size]
            task.engine.seed(task.seeds("update", state.step))
            batch = self.batch(generator, rows.draw(index))
            if task.engine.group.size > 1:  # what is drawn from here on, dropout, is of a rank's own images
                task.engine.seed(task.seeds("update", state.step, task.engine.group.rank))
            with task.engine.batch(len(index), generator) as own:
                loss = self.loss(model, *(part[own] for part in batch))
                optimizer.zero_grad()
                task.engine.backward(loss)
                optimizer.step()
                total += task.engine.mean(loss.detach())
            state.step += 1
            self._average(average, generator, state.step)
            task.progress(state.step, self.steps)

            done = state.step == self.steps
            decided = task.engine.group.broadcast_number(2 * task.stopped() + clock.due())  # by the first rank for all
            ended, due = position + 1 == updates or done, decided > 0 or done
            if not (ended or due):
                continue
            state.loss = float(total)
            if not math.isfinite(state.loss):
                raise RunError(f"the loss became {state.loss} up to update {state.step}; lower the learning rate")
            if ended:
                state.history.append({"epoch": epoch + 1, "loss": state.loss / (position + 1)})
                state.loss = 0.0
                total.zero_()
            if due:
                with clock.saving():
                    state.seconds = clock.seconds
                    self._save(task, generator, average, optimizer, state)
            if decided > 1 and not done:
                raise Interrupted(f"stopped after update {state.step} of {self.steps}")

        task.engine.require_equal(generator, "the generator")
        generator.load_state_dict({**generator.state_dict(), **average})
        task.engine.save(task.folder / "best.pt", generator.state_dict())
        task.engine.group.from_first_rank(lambda: forget(task.folder))
        return Trained(seconds=state.seconds, history=state.history, origins=state.origins)

    def _order(self, task: Task, epoch: int, count: int) -> Tensor:
        """The epoch's order of the training images, the same for all rows of a seed; kept until the next epoch."""
        if getattr(self, "_kept", (None, None))[0] != epoch:
            generator = torch.Generator().manual_seed(task.seeds("order", epoch))
            self._kept = epoch, torch.randperm(count, generator=generator)
        return self._kept[1]

    @torch.no_grad()
    def _average(self, average: dict[str, Tensor], generator: Generator, step: int) -> None:
        """Take the weights after update ``step`` into their average."""
        decay = min(self.ema, (1 + step) / (10 + step))
        for name, value in generator.named_parameters():
            average[name].lerp_(value, 1 - decay)

    def _save(
        self,
        task: Task,
        generator: Generator,
        average: dict[str, Tensor],
        optimizer: torch.optim.Optimizer,
        state: Progress,
    ) -> None:
        kept = {"generator": generator.state_dict(), "average": average, "optimizer": optimizer.state_dict()}
        task.engine.save(task.folder / "last.pt", {**kept, "progress": asdict(state)})

    def _restore(
        self, task: Task, generator: Generator, average: dict[str, Tensor], optimizer: torch.optim.Optimizer
    ) -> Progress:
        path = task.folder / "last.pt"
        if not task.engine.group.from_first_rank(path.exists):
            return Progress()
        saved = task.engine.load(path)
        with task.engine.restoring(path):
            generator.load_state_dict(saved["generator"])
            for name, value in saved["average"].items():
                average[name].copy_(value)
            optimizer.load_state_dict(saved["optimizer"])
            return restored(Progress, saved["progress"])
