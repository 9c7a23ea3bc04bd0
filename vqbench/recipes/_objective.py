"""Adam on a quantizer's objective, for recipes whose data are on the device."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.recipe import Task
from vqbench.training.engine import upload
from vqbench.training.learning_rates import set_rate
from vqbench.training.loop import Stateful, Training

Decay = Literal["constant", "linear", "cosine"]


def rate_factor(decay: Decay, progress: float) -> float:
    """Return the share of the learning rate left at ``progress``.

    From 1 at ``progress`` 0, a decay falls to 0 at 1.
    """
    if decay == "linear":
        return 1 - progress
    if decay == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


class EpochArguments(Protocol):
    """The arguments of a recipe that counts its training in epochs."""

    epochs: int
    batch_size: int
    learning_rate: float
    decay: Decay


class ObjectiveTraining(Training):
    """Updates by Adam, for subclasses that say how a batch is reconstructed.

    The last batch of an epoch may be smaller.
    """

    terms = ("loss", "error")
    quantizer: Quantizer
    optimizer: torch.optim.Optimizer
    weight: float  # factor of the error

    def __init__(self, task: Task, arguments: EpochArguments, inputs: Tensor) -> None:
        self.task, self.arguments = task, arguments
        self.inputs = inputs  # (N, …) on the device, from which batches are taken
        self.quantizer = task.model.quantizer
        self.owner = type(self.quantizer).__name__
        self.images = len(inputs)
        self.per_epoch = math.ceil(self.images / arguments.batch_size)
        self.total = self.per_epoch * arguments.epochs

    @abstractmethod
    def reconstruct(self, batch: Tensor) -> tuple[Tensor, Tensor, QuantizerOutput]:
        """Return targets and reconstructions (B, …), and the quantizer's output.

        ``batch``: rows of the inputs.
        """

    def backward(self, loss: Tensor) -> None:
        """Compute the gradients of ``loss``, ()."""
        self.task.engine.backward(loss)

    def parts(self) -> Mapping[str, Stateful]:
        return {"model": self.task.model, "optimizer": self.optimizer}

    def start_epoch(self, epoch: int, order: Tensor, position: int) -> None:
        self.order = upload(order, self.inputs.device)

    def update(self, step: int, position: int) -> Tensor:
        task, given, done = self.task, self.arguments, step / self.total
        index = self.order[position * given.batch_size : (position + 1) * given.batch_size]  # (B,)
        with task.engine.batch(len(index), task.model) as own:
            self.quantizer.anneal(done)
            x, reconstruction, out = self.reconstruct(self.inputs[index[own]])
            error = F.mse_loss(reconstruction, x)
            loss = self.quantizer.objective(error, out, x[0].numel(), self.weight)
            self.optimizer.zero_grad()
            self.backward(loss)
            set_rate(self.optimizer, given.learning_rate * rate_factor(given.decay, done))
            self.optimizer.step()
            task.monitor.codes(out.codes)
            return task.engine.mean(torch.stack([loss.detach(), error.detach()]))
