"""Reconstruction: an autoencoder trained with mean squared error.

The recipe of the small-data tables.
"""

from __future__ import annotations

import math
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.bounds import PositiveFloat, PositiveInt
from vqbench.errors import RunError, counted
from vqbench.images import to_unit
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.recipe import Recipe, Task, Trained
from vqbench.training.checkpoint import Progress
from vqbench.training.engine import Precision, upload
from vqbench.training.learning_rates import Decay, parameter_groups, rate_factor, set_rate
from vqbench.training.loop import Stateful, Training, TrainingLoop

PREVIEW = 32  # images of the test split that the released code also passes through the model each epoch


def variance(pixels: Tensor) -> float:
    """Return the population variance of pixels / 255 over everything.

    ``pixels``: (N, C, S, S) uint8.
    """
    counts = torch.bincount(pixels.flatten().int(), minlength=256).double()  # exact, and no float copy of the data
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * levels).sum() / counts.sum()
    return float((counts * (levels - mean) ** 2).sum() / counts.sum())


class ReconstructionRecipe(Recipe):
    """Adam on the quantizer's ``objective`` of the mean squared error.

    Its betas are 0.9 and 0.999.

    ``decay``: the learning rate is ``constant``, as in the released code, or falls to zero over all updates,
    ``linear``ly or along half a ``cosine``.

    ``variance``: the error of images in [-1, 1] is divided by v (``unit``, the variance of training pixels in
    [0, 1]) or by 4v (``matched``, the same on the scale of the error). ``selection``: the epoch with the lowest
    error on the ``test`` split without its last partial batch, as the released code does, on a ``holdout`` of the
    last training images, or the ``last`` epoch. ``selection_pass``: the model's mode in that pass. A pass in
    ``train`` mode is followed by one over 32 images, as in the released code; quantizers learn in both.

    ``subset``: how many of the first training images to train on, in a reduced suite.

    Random numbers of an update derive from the run's seed and the update's number, so that a training that was stopped
    anywhere ends with the same weights. Source: the released code of CVQ-VAE (main.py).

    Several ranks share every batch and exchange what its statistics need. A batch is never split in time, into parts
    computed one after the other on a device that is too small for the whole: the codebooks of most methods follow from
    all features of a batch at once (running means, anchors, k-means, entropies, SQ-VAE's logarithm), so that separate
    parts would be another method.
    """

    VERSION = 1
    LATER: ClassVar = {"decay": "constant"}
    check_args: ClassVar = {
        "epochs": 2,
        "batch_size": 6,
        "learning_rate": 1e-3,
        "variance": "matched",
        "selection": "holdout",
        "selection_pass": "eval",
    }
    distributed = True
    captures = True
    scaling = ("epochs", "subset")

    def __init__(
        self,
        *,
        epochs: PositiveInt,
        batch_size: PositiveInt,
        learning_rate: PositiveFloat,
        variance: Literal["unit", "matched"],
        selection: Literal["test", "holdout", "last"],
        selection_pass: Literal["train", "eval"],
        subset: PositiveInt | None = None,
        precision: Precision = "float32",
        decay: Decay = "constant",
    ) -> None:
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.variance, self.selection, self.selection_pass = variance, selection, selection_pass
        self.subset, self.precision, self.decay = subset, precision, decay

    def images(self, train: int, holdout: int) -> int:
        chosen = min(train, self.subset or train)
        return chosen - holdout if self.selection == "holdout" else chosen

    def updates(self, images: int) -> int:
        return math.ceil(images / self.batch_size) * self.epochs

    def images_shown(self, images: int) -> int:
        return images * self.epochs

    def about(self) -> str:
        rate = f"learning rate {self.learning_rate:g}" + f" with {self.decay} decay" * (self.decay != "constant")
        return f"{counted(self.epochs, 'epoch')}, batch {self.batch_size}, {rate}, {self.precision}"

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        count = min(train, self.subset or train)
        held = holdout if self.selection == "holdout" else 0
        least = held + self.batch_size
        if self.selection == "holdout" and not 0 < held < count:
            now = f"subset {self.subset}" if count < train else f"of {counted(train, 'training image')}"
            kept = f"{now} leaves none to train on, since the last {held:,}" if held else f"{now} none"
            work = f"take a subset of {least:,} or more, or " if held and least <= train else ""
            return f"{kept} are held out for selection; {work}set selection to last"
        if self.batch_size > count - held:
            less = f" ({count:,} less {held:,} held out for selection)" if held else ""
            more = f", or take a subset of {least:,} or more" if count < least <= train else ""
            return (
                f"batch_size {self.batch_size} is larger than the {counted(count - held, 'training image')}{less}; "
                f"lower it{more}"
            )
        if self.selection == "test" and self.batch_size > test:
            return (
                f"batch_size {self.batch_size} leaves no test image, since selection: test drops partial batches; "
                f"lower it to {test:,} or less"
            )
        return None

    def fit(self, task: Task) -> Trained:
        return TrainingLoop(task, ReconstructionTraining(self, task)).run()


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
    inputs: Tensor  # (N, …) on the device, from which batches are taken; set before the first update
    weight: float  # factor of the error, likewise

    def __init__(self, task: Task, arguments: EpochArguments, images: int) -> None:
        self.task, self.arguments = task, arguments
        self.quantizer = task.model.quantizer
        self.owner = type(self.quantizer).__name__
        self.images = images
        self.per_epoch = math.ceil(self.images / arguments.batch_size)
        self.total = self.per_epoch * arguments.epochs
        self.captured: Callable[[Tensor], Tensor] | None = None  # replays `compute` where that was asked for
        if task.capture is not None:
            compute = partial(type(self).compute, weakref.proxy(self))  # no cycle: it would hold the graph's memory
            self.captured = task.capture.update(compute, task.model, arguments.batch_size)

    def adam(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Adam:
        """Return Adam for ``parameters``, at the rates of recipe and quantizer."""
        groups, rate = parameter_groups(parameters, self.quantizer), self.arguments.learning_rate
        capture = self.task.capture
        return torch.optim.Adam(groups, lr=rate) if capture is None else capture.adam(groups, rate)

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
            set_rate(self.optimizer, given.learning_rate * rate_factor(given.decay, done))
            return (self.captured or self.compute)(index[own])

    def compute(self, index: Tensor) -> Tensor:
        """Do an update on the images ``index`` (B,); returns its terms.

        All that changes from one update to the next was set before, since a captured update is this one, repeated.
        """
        x, reconstruction, out = self.reconstruct(self.inputs[index])
        error = F.mse_loss(reconstruction, x)
        loss = self.quantizer.objective(error, out, x[0].numel(), self.weight)
        self.optimizer.zero_grad()
        self.backward(loss)
        self.optimizer.step()
        self.task.monitor.codes(out.codes)
        return self.task.engine.mean(torch.stack([loss.detach(), error.detach()]))


@dataclass
class SelectionProgress(Progress):
    """The progress of a training that selects one of its epochs."""

    best: float = math.inf  # lowest selection error so far
    best_epoch: int = 0
    loss: float = 0.0  # sums over the updates of the epoch so far
    error: float = 0.0


class ReconstructionTraining(ObjectiveTraining):
    """Adam on the quantizer's objective, and selection of an epoch."""

    progress: SelectionProgress

    def __init__(self, recipe: ReconstructionRecipe, task: Task) -> None:
        self.recipe, self.task = recipe, task
        self.progress = SelectionProgress()
        self.selected: dict[str, Tensor] | None = None  # state of the best epoch, where best.pt does not have it yet
        self.inputs, self.validation = self._splits()  # (N, C, S, S) uint8
        super().__init__(task, recipe, len(self.inputs))
        self.weight = self._weight()
        self.optimizer = self.adam(task.model.parameters())
        self.model = task.engine.setup(task.model)

    def replicas(self) -> Mapping[str, nn.Module]:
        return {self.owner: self.task.model}

    def begin(self) -> None:
        self.model.train()

    def reconstruct(self, batch: Tensor) -> tuple[Tensor, Tensor, QuantizerOutput]:
        x = to_unit(batch)  # (B, C, S, S) in [-1, 1]
        reconstruction, out = self.model(x)
        return x, reconstruction.float(), out

    def end_epoch(self, epoch: int, means: dict[str, float]) -> dict[str, Any]:
        progress = self.progress
        selected = None if self.validation is None else self.selection_error(self.validation, epoch)
        self.model.train()
        if selected is None or selected < progress.best:
            progress.best, progress.best_epoch = math.inf if selected is None else selected, epoch
            self.selected = {name: value.detach().clone() for name, value in self.task.model.state_dict().items()}
        entry = {**means, "selection_error": selected}
        if epoch == self.recipe.epochs:  # before the checkpoint, so that another attempt trains again
            self._require_selected([*progress.history, entry])
        return entry

    def save_selected(self) -> None:
        if self.selected is not None:  # at checkpoints only: a write waits for device and disk
            self.task.engine.save(self.task.folder / "best.pt", self.selected)
            self.selected = None

    def finish(self) -> None:
        self._require_selected(self.progress.history)
        best = self.task.folder / "best.pt"
        weights = self.task.engine.load(best)
        with self.task.engine.restoring(best):
            self.task.model.load_state_dict(weights)

    @torch.no_grad()
    def selection_error(self, pixels: Tensor, epoch: int) -> float:
        """Return the mean of the errors of batches, as in the released code."""
        recipe, seeds = self.recipe, self.task.seeds
        self.model.train(recipe.selection_pass == "train")
        errors = [
            self._error(batch, seeds("selection", epoch, number))
            for number, batch in enumerate(pixels.split(recipe.batch_size))
        ]
        if recipe.selection_pass == "train":
            self._error(pixels[:PREVIEW], seeds("preview", epoch))
        return float(torch.stack(errors).mean())

    def _error(self, pixels: Tensor, seed: int) -> Tensor:
        """Pass one batch through the model; return its mean squared error, ()."""
        with self.task.engine.batch(len(pixels), self.task.model) as own:
            x = to_unit(pixels[own])
            self.task.engine.seed(seed)
            reconstruction, _ = self.model(x)
            return self.task.engine.mean(F.mse_loss(reconstruction.float(), x))

    def _require_selected(self, history: list[dict[str, Any]]) -> None:
        """Raise RunError where no epoch has a finite selection error."""
        if self.progress.best_epoch > 0:
            return
        raise RunError(
            f"the selection error of {self.owner} is {history[0]['selection_error']} in epoch 1 and finite in none of "
            f"{self.recipe.epochs}, though its losses are: look at what it does in evaluation mode, or lower the "
            "learning rate"
        )

    def _weight(self) -> float:
        """Return the factor of the error: 1 / variance of the training pixels."""
        spread = variance(self.inputs.cpu())
        if spread == 0:
            raise RunError(
                "every pixel of the training images has the same value, so that the error cannot be divided by their "
                "variance; look at the images"
            )
        return 1 / (spread * (4 if self.recipe.variance == "matched" else 1))

    def _splits(self) -> tuple[Tensor, Tensor | None]:
        """Return training and selection images on the device.

        Raises RunError where the data do not fit the recipe.
        """
        recipe, data = self.recipe, self.task.dataset
        pixels = data.pixels("train")
        test = len(data.pixels("test")) if recipe.selection == "test" else 0
        if wrong := recipe.misfit(len(pixels), test, data.holdout, 0):
            raise RunError(wrong)
        training = pixels[: recipe.subset]
        validation = None
        if recipe.selection == "holdout":
            training, validation = training[: -data.holdout], training[-data.holdout :]
        elif recipe.selection == "test":
            validation = data.pixels("test")[: test // recipe.batch_size * recipe.batch_size]
        self._require_features(training)
        device = self.task.engine.device
        return training.to(device), None if validation is None else validation.to(device)

    def _require_features(self, training: Tensor) -> None:
        """Raise RunError for a codebook larger than all training features."""
        model = self.task.model
        if model.quantizer.depth == 0:
            return
        with torch.no_grad():
            first = to_unit(training[:1]).to(next(model.parameters()).device)
            positions = model.backbone.encode(first)[0, 0].numel()
        if model.quantizer.num_codes > positions * len(training):
            raise RunError(
                f"num_codes {model.quantizer.num_codes} is larger than all {positions * len(training)} training "
                f"features ({counted(len(training), 'image')} of {counted(positions, 'position')}); lower it"
            )
