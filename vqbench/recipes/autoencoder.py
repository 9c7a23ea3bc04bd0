"""Reconstruction: an autoencoder trained with mean squared error, the recipe of the small-data tables."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from vqbench.bounds import PositiveFloat, PositiveInt
from vqbench.errors import Interrupted, RunError, counted
from vqbench.images import to_unit
from vqbench.recipe import Recipe, Task, Trained
from vqbench.training.clock import CHECKPOINT_EVERY, restored
from vqbench.training.engine import Precision

PREVIEW = 32  # images of the test split that the released code also passes through the model each epoch


Decay = Literal["constant", "linear", "cosine"]


def rate_factor(decay: Decay, progress: float) -> float:
    """The share of the learning rate that is left at ``progress`` in [0, 1): 1 at the start; a decay ends at 0."""
    if decay == "linear":
        return 1 - progress
    if decay == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    return 1.0


def variance(pixels: Tensor) -> float:
    """Population variance of all pixels / 255, over images, channels and positions."""
    counts = torch.bincount(pixels.flatten().int(), minlength=256).double()  # exact, and no float copy of the data
    levels = torch.arange(256, dtype=torch.float64) / 255
    mean = (counts * levels).sum() / counts.sum()
    return float((counts * (levels - mean) ** 2).sum() / counts.sum())


@dataclass
class Progress:
    """What must be kept, besides the weights, so that a training goes on as if it had never stopped."""

    step: int = 0
    best: float = math.inf
    best_epoch: int = 0
    seconds: float = 0.0
    loss: float = 0.0  # sums over the epoch's updates so far
    error: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    origins: list[dict[str, Any]] = field(default_factory=list)  # machines that trained part of it


class ReconstructionRecipe(Recipe):
    """Adam (betas 0.9 and 0.999) on the quantizer's ``objective`` of the mean squared error.

    ``decay``: the learning rate stays ``constant``, as in the released code, or falls to zero over all updates,
    ``linear``ly or along half a ``cosine``.

    ``variance``: the error of images in [-1, 1] is divided by v (``unit``, the variance of training pixels in
    [0, 1]) or by 4v (``matched``, the same on the scale of the error). ``selection``: the epoch with the lowest
    error on the ``test`` split without its last partial batch, as the released code does, on a ``holdout`` of the
    last training images, or the ``last`` epoch. ``selection_pass``: the model's mode in that pass. A pass in
    ``train`` mode is followed by one over 32 images, as in the released code; quantizers learn from what they see.

    ``subset``: the first training images alone, in a reduced suite.

    Random numbers of an update derive from the run's seed and the update's number, so that a run that was stopped
    anywhere ends with the same weights. Source: the released code of CVQ-VAE (main.py).

    Several ranks share every batch, and what is written here of a batch holds of the whole one. A batch is never split
    in time, to be computed by parts on a device that is too small for it: the codebooks of most methods follow from
    all features of a batch at once (running means, anchors, k-means, entropies, SQ-VAE's logarithm), so that parts
    taken one after the other would be another method. Ranks split it in space, and exchange what is needed.
    """

    VERSION = 1
    LATER: ClassVar = {"decay": "constant"}
    distributed = True
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

    def _weight(self, training: Tensor) -> float:
        """The factor of the squared error: one over the variance of the training pixels."""
        spread = variance(training.cpu())
        if spread == 0:
            raise RunError(
                "every pixel of the training images has the same value, so that the error cannot be divided by their "
                "variance; look at the images"
            )
        return 1 / (spread * (4 if self.variance == "matched" else 1))

    def fit(self, task: Task) -> Trained:
        training, validation = self._splits(task)  # (N, C, S, S) uint8
        weight = self._weight(training)
        optimizer: torch.optim.Optimizer = torch.optim.Adam(task.model.parameters(), lr=self.learning_rate)
        task.engine.group.from_first_rank(lambda: task.folder.mkdir(parents=True, exist_ok=True))
        model, optimizer = task.engine.setup(task.model, optimizer)
        state = self._restore(task, optimizer)

        updates = math.ceil(len(training) / self.batch_size)  # an epoch's; the last batch may be smaller
        total = updates * self.epochs
        if state.step < total:
            task.engine.add_origin(state.origins)
        started = saved = time.monotonic()
        checked = state.step  # the last update after which the loss was looked at
        sums = torch.tensor([state.loss, state.error], device=training.device)  # read once an epoch
        sound = torch.zeros((), dtype=torch.int64, device=training.device)  # updates since then before any NaN
        order = None
        model.train()
        while state.step < total:
            epoch, position = divmod(state.step, updates)
            if order is None or position == 0:
                order = self._order(task, epoch, len(training)).to(training.device)
            index = order[position * self.batch_size : (position + 1) * self.batch_size]
            with task.engine.batch(len(index), task.model) as own:
                x = to_unit(training[index[own]])
                task.engine.seed(task.seeds("update", state.step))
                task.model.quantizer.anneal(state.step / total)
                reconstruction, out = model(x)
                error = torch.nn.functional.mse_loss(reconstruction.float(), x)
                loss = task.model.quantizer.objective(error, out, x[0].numel(), weight)
                optimizer.zero_grad()
                task.engine.backward(loss)
                for parameters in optimizer.param_groups:
                    parameters["lr"] = self.learning_rate * rate_factor(self.decay, state.step / total)
                optimizer.step()
                sums += task.engine.mean(torch.stack([loss.detach(), error.detach()]))
                task.watch.codes(out.codes)
            sound += sums[0].isfinite()
            state.step += 1
            task.progress(state.step, total)

            ended = position + 1 == updates
            stopped, due = self._asked(task, saved)
            if not (ended or due):
                continue
            state.loss, state.error = sums.tolist()
            self._require_sound(task, state, int(sound), checked, updates, total)
            checked = state.step
            sound.zero_()
            task.engine.require_equal(task.model, type(task.model.quantizer).__name__)
            if ended:
                self._finish_epoch(task, model, validation, state, epoch + 1, updates)
                sums.zero_()
            if state.step == total:  # before the checkpoint, so that another attempt trains again
                self._require_selected(task, state)
            if due or state.step == total:
                state.seconds += time.monotonic() - started
                started = saved = time.monotonic()
                self._save(task, optimizer, state)
            if stopped:
                raise Interrupted(f"stopped after update {state.step} of {total}")

        self._require_selected(task, state)
        task.watch.save(task.folder)
        best = task.folder / "best.pt"
        weights = task.engine.load(best)
        with task.engine.restoring(best):
            task.model.load_state_dict(weights)
        return Trained(seconds=state.seconds, history=state.history, origins=state.origins)

    @staticmethod
    def _asked(task: Task, saved: float) -> tuple[bool, bool]:
        """Whether to stop, and whether to write a checkpoint: the first rank decides for all."""
        stopped = task.stopped()
        due = stopped or time.monotonic() - saved > CHECKPOINT_EVERY
        decided = task.engine.group.broadcast_number(2 * stopped + due)
        return decided > 1, decided > 0

    @staticmethod
    def _require_sound(task: Task, state: Progress, sound: int, checked: int, updates: int, total: int) -> None:
        """Raises RunError if the loss became NaN or infinite after ``sound`` updates since the one last ``checked``."""
        if math.isfinite(state.loss):
            return
        first = checked + sound + 1
        raise RunError(
            f"the loss of {type(task.model.quantizer).__name__} became {state.loss} at update {first} of {total}, in "
            f"epoch {(first - 1) // updates + 1}; lower the learning rate, or report the quantizer if its defaults "
            "do this"
        )

    def _require_selected(self, task: Task, state: Progress) -> None:
        """Raises RunError where no epoch has a finite selection error, so that there are no weights to keep."""
        if state.best_epoch > 0:
            return
        first = state.history[0]["selection_error"] if state.history else math.nan
        raise RunError(
            f"the selection error of {type(task.model.quantizer).__name__} is {first} in epoch 1 and finite in none of "
            f"{self.epochs}, though its losses are: look at what it does in evaluation mode, or lower the learning rate"
        )

    def _splits(self, task: Task) -> tuple[Tensor, Tensor | None]:
        """Training and selection images on the device. Raises RunError where the settings do not fit the data."""
        pixels = task.dataset.pixels("train")
        test = len(task.dataset.pixels("test")) if self.selection == "test" else 0
        if wrong := self.misfit(len(pixels), test, task.dataset.holdout, 0):
            raise RunError(wrong)
        training = pixels[: self.subset]
        validation = None
        if self.selection == "holdout":
            held = task.dataset.holdout
            training, validation = training[:-held], training[-held:]
        elif self.selection == "test":
            shown = task.dataset.pixels("test")
            validation = shown[: len(shown) // self.batch_size * self.batch_size]
        device = task.engine.device
        self._check_features(task, training)
        return training.to(device), None if validation is None else validation.to(device)

    @staticmethod
    def _check_features(task: Task, training: Tensor) -> None:
        """A codebook larger than the set of all training features cannot be filled."""
        quantizer = task.model.quantizer
        if quantizer.depth == 0:
            return
        with torch.no_grad():
            positions = task.model.backbone.encode(to_unit(training[:1]).to(next(task.model.parameters()).device))[
                0, 0
            ].numel()
        if quantizer.num_codes > positions * len(training):
            raise RunError(
                f"num_codes {quantizer.num_codes} is larger than all {positions * len(training)} training features "
                f"({counted(len(training), 'image')} of {counted(positions, 'position')}); lower it"
            )

    @staticmethod
    def _order(task: Task, epoch: int, count: int) -> Tensor:
        """The epoch's order of the training images, the same for all quantizers of a seed."""
        generator = torch.Generator().manual_seed(task.seeds("order", epoch))
        return torch.randperm(count, generator=generator)

    def _finish_epoch(
        self, task: Task, model: torch.nn.Module, validation: Tensor | None, state: Progress, epoch: int, updates: int
    ) -> None:
        selected = None if validation is None else self._selection_error(task, model, validation, epoch)
        model.train()
        means = {"loss": state.loss / updates, "error": state.error / updates, "selection_error": selected}
        state.history.append({"epoch": epoch, **means, **task.watch.epoch_ended()})
        task.told(state.history[-1])
        state.loss = state.error = 0.0
        if selected is None or selected < state.best:
            state.best, state.best_epoch = math.inf if selected is None else selected, epoch
            task.engine.save(task.folder / "best.pt", task.model.state_dict())

    @torch.no_grad()
    def _selection_error(self, task: Task, model: torch.nn.Module, validation: Tensor, epoch: int) -> float:
        """Mean over the batches of their mean squared errors, as the released code averages."""
        model.train(self.selection_pass == "train")
        errors = []
        for number, start in enumerate(range(0, len(validation), self.batch_size)):
            seed = task.seeds("selection", epoch, number)
            errors.append(self._shown(task, model, validation[start : start + self.batch_size], seed))
        if self.selection_pass == "train":
            self._shown(task, model, validation[:PREVIEW], task.seeds("preview", epoch))
        return float(torch.stack(errors).mean())

    @staticmethod
    def _shown(task: Task, model: torch.nn.Module, pixels: Tensor, seed: int) -> Tensor:
        """Pass one batch through the model; its mean squared error."""
        with task.engine.batch(len(pixels), task.model) as own:
            x = to_unit(pixels[own])
            task.engine.seed(seed)
            reconstruction, _ = model(x)
            return task.engine.mean(torch.nn.functional.mse_loss(reconstruction.float(), x))

    def _save(self, task: Task, optimizer: torch.optim.Optimizer, state: Progress) -> None:
        task.engine.save(
            task.folder / "last.pt",
            {
                "model": task.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "progress": asdict(state),
                "watch": task.watch.state(),
            },
        )

    def _restore(self, task: Task, optimizer: torch.optim.Optimizer) -> Progress:
        path = task.folder / "last.pt"
        saved = task.engine.load(path) if task.engine.group.from_first_rank(path.exists) else {}
        with task.engine.restoring(path):
            task.watch.start(task.model.quantizer, task.engine.device, saved.get("watch"))
            if not saved:
                return Progress()
            task.model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            return restored(Progress, saved["progress"])
