"""Reconstruction with a discriminator: VQGAN and its successors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vqbench.bounds import (
    Decay,
    Fraction,
    Layers,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Width,
)
from vqbench.distributed.collectives import rank_slice
from vqbench.errors import RunError, UsageError, counted
from vqbench.images import batches, to_unit
from vqbench.networks.perceptual import SMALLEST
from vqbench.quantizer import Quantizer
from vqbench.recipe import Recipe, Task, Trained, too_large
from vqbench.training.adversarial.discriminator import DiscriminatorConfig, DiscriminatorName
from vqbench.training.adversarial.losses import GanLoss
from vqbench.training.adversarial.reconstruction import Reconstruction, ReconstructionWeights
from vqbench.training.adversarial.schedule import RateSchedule, Schedule
from vqbench.training.adversarial.update import TERMS, AdamConfig, GanConfig, GanTrainer
from vqbench.training.checkpoint import Progress
from vqbench.training.ema import WeightAverage
from vqbench.training.engine import Precision, upload
from vqbench.training.loop import Stateful, Training, TrainingLoop


class Gan(Recipe):
    """A reconstruction loss, within the quantizer's objective, and a GAN loss.

    Reconstruction: ``l1``·mean|x̂ − x| + ``l2``·mean(x̂ − x)² + ``perceptual``·LPIPS, or with ``semantic`` the mix of VGG
    layers that :class:`Reconstruction` describes. From update ``start`` on, a discriminator (``patch`` or ``stylegan``)
    plays the ``game``; its loss is weighted by ``adversarial``, and with ``adaptive`` also by the ratio of the two
    losses' gradients at the decoder's last layer. ``r1`` is the gamma of the R1 penalty, computed in every
    ``r1_every``-th update with as many times the weight.

    Model and discriminator each have an Adam with decoupled weight decay. Both use one rate: ``learning_rate``, times
    the batch size where ``rate_rule`` is ``per_picture``, along ``schedule`` after ``warmup`` updates (see
    ``vqbench/training/adversarial/schedule.py``; ``final_rate`` is the share of the peak at the end of a cosine).
    ``ema``: the moving average of the weights with this decay is evaluated; 0: the weights themselves.

    Either ``steps`` updates or ``epochs`` of whole batches; images that an epoch leaves over come in the order of
    another. The last weights are kept, without selection: a reconstruction error does not show which adversarial
    training is best. 0 steps train nothing, for backbones that come with weights, whose codebook is then copied into
    the quantizer.

    ``accumulate`` parts of a batch are computed one after the other where a device is too small for the whole.
    Quantizer and discriminator still get the whole batch at once, so that the result is the same up to rounding (see
    :class:`vqbench.training.adversarial.passes.MicroBatches`); encoder and decoder are computed twice or more.

    ``refine_steps`` more updates, at ``refine_learning_rate``, follow as a second phase of the decoder alone, for
    backbones that have one (SeQ-GAN), with ``refine_semantic`` in place of ``semantic``.

    Random numbers of an update derive from the run's seed and the update's number, so that a training that was stopped
    anywhere ends with the same weights. Several ranks share every batch, and do the update that one would do with all
    of it (:mod:`vqbench.distributed.gradients`).

    Source: P. Esser, R. Rombach, B. Ommer, CVPR 2021, arXiv 2012.09841, and its released code, from which this differs:
    the discriminator learns from the reconstructions of the model's update, and is neither computed nor updated before
    ``start``; there its Adam counts those updates, so that its first real ones are up to 1.5 times as large.
    """

    VERSION = 1
    check_args: ClassVar = {
        "epochs": 2,
        "batch_size": 6,
        "learning_rate": 1e-5,
        "perceptual": 0.0,
        "discriminator_width": 8,
        "discriminator_layers": 2,
        "ema": 0.9,
    }
    distributed = True
    scaling = ("steps", "epochs", "subset")
    replaces: ClassVar = {"epochs": ("steps", "refine_steps")}

    def __init__(
        self,
        *,
        steps: NonNegativeInt | None = None,
        epochs: PositiveInt | None = None,
        batch_size: PositiveInt,
        learning_rate: NonNegativeFloat,  # 0 where no steps are trained
        rate_rule: Literal["fixed", "per_picture"] = "fixed",
        schedule: Schedule = "constant",
        warmup: NonNegativeInt = 0,
        final_rate: Fraction = 0.0,
        beta1: Decay = 0.5,
        beta2: Decay = 0.9,
        weight_decay: NonNegativeFloat = 0.0,
        l1: NonNegativeFloat = 1.0,
        l2: NonNegativeFloat = 0.0,
        perceptual: NonNegativeFloat = 1.0,
        semantic: NonNegativeFloat | None = None,
        adversarial: NonNegativeFloat = 0.8,
        adaptive: bool = True,
        start: NonNegativeInt = 0,
        game: GanLoss = "hinge",
        discriminator: DiscriminatorName = "patch",
        discriminator_width: Width = 64,
        discriminator_layers: Layers = 3,
        r1: NonNegativeFloat = 0.0,
        r1_every: PositiveInt = 16,
        ema: Decay = 0.0,
        accumulate: PositiveInt = 1,
        refine_steps: NonNegativeInt = 0,
        refine_learning_rate: PositiveFloat | None = None,
        refine_semantic: NonNegativeFloat | None = None,
        subset: PositiveInt | None = None,
        precision: Precision = "float32",
    ) -> None:
        if (steps is None) == (epochs is None):
            raise UsageError("recipe gan: give either steps or epochs")
        if batch_size < 1 or not 1 <= accumulate <= batch_size or r1_every < 1:
            raise UsageError("recipe gan: batch_size, accumulate (at most batch_size) and r1_every must be 1 or more")
        if not 0 <= ema < 1:
            raise UsageError(f"recipe gan: ema must be at least 0 and below 1, not {ema}")
        self.steps, self.epochs, self.refine_steps = steps, epochs, refine_steps
        self.batch_size, self.subset, self.precision, self.ema = batch_size, subset, precision, ema
        self.learning_rate, self.rate_rule = learning_rate, rate_rule
        factor = batch_size if rate_rule == "per_picture" else 1
        refine_rate = learning_rate if refine_learning_rate is None else refine_learning_rate
        self.rate = RateSchedule(learning_rate * factor, schedule, warmup, final_rate)
        self.refine_rate = RateSchedule(refine_rate * factor, schedule, 0, final_rate)
        self.adam = AdamConfig(self.rate.peak, (beta1, beta2), weight_decay)
        self.weights = ReconstructionWeights(l1, l2, perceptual, semantic)
        self.refine_weights = ReconstructionWeights(l1, l2, perceptual, refine_semantic)
        self.game = GanConfig(game, adversarial, adaptive, r1, r1_every, accumulate, start)
        self.discriminator = DiscriminatorConfig(discriminator, discriminator_width, discriminator_layers)

    def images(self, train: int, holdout: int) -> int:
        return min(train, self.subset or train)

    def updates(self, images: int) -> int:
        first = self.steps if self.steps is not None else images // self.batch_size * (self.epochs or 0)
        return first + self.refine_steps

    def images_shown(self, images: int) -> int:
        return self.updates(images) * self.batch_size

    def about(self) -> str:
        long = counted(self.epochs or 0, "epoch") if self.steps is None else counted(self.steps, "update")
        if self.refine_steps:
            long += f" and {self.refine_steps} of a second phase"
        rate = f"learning rate {self.learning_rate:g}" + " an image" * (self.rate_rule == "per_picture")
        return f"{long}, batch {self.batch_size}, {rate}, {self.precision}"

    def misfit(self, train: int, test: int, holdout: int, size: int) -> str | None:
        if wrong := too_large(self.batch_size, train, self.subset):
            return wrong
        updates = min(train, self.subset or train) // self.batch_size
        total = (updates * (self.epochs or 0) if self.steps is None else self.steps) + self.refine_steps
        if total and size < SMALLEST["vgg"] and (self.weights.needs_vgg or self.refine_weights.needs_vgg):
            return f"perceptual needs images of {SMALLEST['vgg']} pixels or more, not {size}; set it to 0"
        return self.discriminator.misfit(size) if self.game.weight and self.game.start < total else None

    def fit(self, task: Task) -> Trained:
        return TrainingLoop(task, GanTraining(self, task)).run()


@dataclass
class GanProgress(Progress):
    """Sums of all terms over the updates of the epoch so far."""

    reconstruction: float = 0.0
    quantizer: float = 0.0
    adversarial: float = 0.0
    weight: float = 0.0
    discriminator: float = 0.0
    r1: float = 0.0


class GanTraining(Training):
    """Updates of model and discriminator in turn, then of the decoder alone."""

    terms = TERMS
    quantizer: Quantizer
    progress: GanProgress

    def __init__(self, recipe: Gan, task: Task) -> None:
        self.recipe, self.task = recipe, task
        self.pixels = task.dataset.pixels("train")  # (N, C, S, S) uint8, or what reads parts of it
        if wrong := recipe.misfit(len(self.pixels), 0, 0, task.dataset.size):
            raise RunError(wrong)
        self.ranks = task.engine.group.size
        if recipe.batch_size < self.ranks:
            raise RunError(f"batch_size {recipe.batch_size} leaves no image for some of {self.ranks} devices; raise it")
        self.images = min(len(self.pixels), recipe.subset or len(self.pixels))
        self.per_epoch = self.images // recipe.batch_size
        self.total = recipe.updates(self.images)
        self.first_phase = self.total - recipe.refine_steps  # updates
        self.phase_ends = (self.first_phase,)
        self.progress = GanProgress()
        self.quantizer = task.model.quantizer
        self.owner = type(self.quantizer).__name__
        self._put_codebook()
        task.model.train()
        self.trainer = GanTrainer(task.model, self._discriminator(), recipe.game, task.engine, recipe.adam)
        self.average = WeightAverage(task.model, recipe.ema) if recipe.ema else None

    def parts(self) -> Mapping[str, Stateful]:
        average = {} if self.average is None else {"average": self.average}
        return {**self.trainer.parts(), **average}

    def replicas(self) -> Mapping[str, nn.Module]:
        return {self.owner: self.task.model, "the discriminator": self.trainer.discriminator}

    def resume(self, step: int) -> None:
        if step > self.first_phase:
            self.trainer.begin_refinement()

    def begin(self) -> None:
        self.reconstruction = self._reconstruction(self.progress.step > self.first_phase)

    def start_epoch(self, epoch: int, order: Tensor, position: int) -> None:
        self.batches = self._batches(epoch, order, position)

    def update(self, step: int, position: int) -> Tensor:
        recipe, task = self.recipe, self.task
        if step == self.first_phase:
            self.trainer.begin_refinement()
            self.reconstruction = self._reconstruction(refining=True)
        x = to_unit(upload(next(self.batches), task.engine.device))  # (B / ranks, C, S, S) in [-1, 1]
        self.quantizer.anneal(min(1.0, step / max(1, self.first_phase)))
        self.trainer.set_rate(self._rate(step))
        playing, penalized = recipe.game.plays(step), recipe.game.penalizes(step)
        with task.engine.batch(recipe.batch_size, task.model):
            terms = self.trainer.update(x, self.reconstruction, playing, penalized)
            task.monitor.codes(self.trainer.codes)
        return terms

    def end_epoch(self, epoch: int, means: dict[str, float]) -> dict[str, Any]:
        return {"update": self.progress.step, **means}

    def finish(self) -> None:
        task = self.task
        weights = task.model.state_dict() if self.average is None else self.average.averaged_state()
        task.engine.save(task.folder / "best.pt", weights)
        task.model.load_state_dict(weights)
        task.model.requires_grad_(True)

    def _rate(self, step: int) -> float:
        recipe, first = self.recipe, self.first_phase
        return recipe.rate.at(step, first) if step < first else recipe.refine_rate.at(step - first, recipe.refine_steps)

    def _reconstruction(self, refining: bool) -> Reconstruction:
        return Reconstruction(self.task.engine, self.recipe.refine_weights if refining else self.recipe.weights)

    def _discriminator(self) -> nn.Module:
        torch.manual_seed(self.task.seeds("discriminator"))
        discriminator = self.recipe.discriminator.build(self.task.dataset.channels, self.task.dataset.size)
        return discriminator.to(self.task.engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]  # torch's overloads leave it out

    @torch.no_grad()
    def _put_codebook(self) -> None:
        """Copy the codebook of a backbone's trained weights, if any.

        Raises RunError for a quantizer that cannot take it.
        """
        given = self.task.model.backbone.codebook
        if given is None:
            return
        own = getattr(self.quantizer, "codebook", None)
        if own is None or own.shape != given.shape:
            has = "none that can be set" if own is None else f"one of {len(own)} x {own.shape[1]}"
            raise RunError(
                f"the backbone's file has a codebook of {len(given)} codes x {given.shape[1]}, the quantizer has "
                f"{has}; use vq, with codebook: {{num_codes: {len(given)}, dim: {given.shape[1]}}}"
            )
        own.copy_(given)

    def _batches(self, epoch: int, order: Tensor, start: int) -> Iterator[Tensor]:
        """Read this rank's part of batches, each (B / ranks, C, S, S) uint8."""
        size = self.recipe.batch_size
        whole = order[: self.images // size * size].view(-1, size)
        own = whole[:, rank_slice(size, self.task.engine.group.rank, self.ranks)]
        return batches(self.pixels, own.flatten(), own.shape[1], start, self.task.seeds("augmentation", epoch))
