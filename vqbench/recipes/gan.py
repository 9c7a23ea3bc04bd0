"""Reconstruction against a discriminator: the recipe of VQGAN and what came after it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

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
from vqbench.dataset import Images
from vqbench.distributed.collectives import rank_slice
from vqbench.errors import Interrupted, RunError, UsageError, counted
from vqbench.images import to_unit
from vqbench.loading import batches
from vqbench.networks.perceptual import SMALLEST
from vqbench.recipe import Recipe, Task, Trained, too_large
from vqbench.training.adversarial.losses import GanLoss
from vqbench.training.adversarial.patch import Patch
from vqbench.training.adversarial.reconstruction import Reconstruction
from vqbench.training.adversarial.schedule import Schedule, learning_rate
from vqbench.training.adversarial.stylegan import StyleGAN
from vqbench.training.adversarial.update import TERMS, GanConfig, GanTrainer
from vqbench.training.clock import Clock, restored
from vqbench.training.engine import Precision


@dataclass
class Progress:
    """What must be kept, besides weights and optimizers, so that a training goes on as if it had never stopped."""

    step: int = 0
    seconds: float = 0.0
    since: int = 0  # updates in ``sums``
    sums: list[float] = field(default_factory=lambda: [0.0] * len(TERMS))
    history: list[dict[str, Any]] = field(default_factory=list)
    origins: list[dict[str, Any]] = field(default_factory=list)  # machines that trained part of it


class Gan(Recipe):
    """The quantizer's ``objective`` of a reconstruction loss, and a discriminator's judgement of the reconstructions.

    Reconstruction: ``l1``·mean|x̂ − x| + ``l2``·mean(x̂ − x)² + ``perceptual``·LPIPS, or with ``semantic`` the mix of VGG
    layers that :class:`Reconstruction` tells of. From update ``start`` on a discriminator (``patch`` or ``stylegan``)
    plays the ``game``, weighed by ``adversarial``, and with ``adaptive`` by the ratio of the two losses' gradients at
    the decoder's last layer as well. ``r1`` is the gamma of the R1 penalty, taken in every ``r1_every``-th update
    with as many times the weight.

    Both have an Adam of their own, with decoupled weight decay, and one rate: ``learning_rate``, times the batch size
    where ``rate_rule`` is ``per_picture``, along ``schedule`` after ``warmup`` updates (see
    :func:`~.schedule.learning_rate`; ``final_rate`` is the share of the peak at the end of a cosine).
    ``ema``: the moving average of the weights, with this decay, is what is measured; 0: the weights themselves.

    Either ``steps`` updates or ``epochs`` of whole batches; what an epoch leaves over comes in another one's order. The
    last weights are kept, without a selection: a reconstruction error does not tell which adversarial training is best.
    0 steps train nothing, for backbones that come with weights, whose codebook is then put into the quantizer.

    ``accumulate`` parts of a batch are computed one after the other where a device is too small for all. Quantizer and
    discriminator still see the whole batch at once, so that the result is the same but for rounding (see
    :class:`vqbench.training.adversarial.passes.MicroBatches`); encoder and decoder are computed twice or more.

    ``refine_steps`` more updates, at ``refine_learning_rate``, follow as a second phase, of the decoder alone, by
    backbones that have one (SeQ-GAN), with ``refine_semantic`` in the place of ``semantic``.

    Random numbers of an update derive from the run's seed and the update's number, so that a run that was stopped
    anywhere ends with the same weights. Several ranks share every batch, and take the step that one would take with
    all of it (:mod:`vqbench.distributed.gradients`).

    Source: P. Esser, R. Rombach, B. Ommer, CVPR 2021, arXiv 2012.09841, and its released code, from which this differs:
    the discriminator learns from the reconstructions that the model's update was made of, and neither computes nor
    counts updates before ``start``; there its Adam has counted them, so that its first true updates are up to half as
    large again.
    """

    VERSION = 1
    distributed = True
    scaling = ("steps", "epochs", "subset")

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
        discriminator: Literal["patch", "stylegan"] = "patch",
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
        self.steps, self.epochs, self.batch_size, self.subset = steps, epochs, batch_size, subset
        self.learning_rate, self.rate_rule = learning_rate, rate_rule
        factor = batch_size if rate_rule == "per_picture" else 1
        self.peak = learning_rate * factor
        self.refine_steps = refine_steps
        self.refine_peak = self.peak if refine_learning_rate is None else refine_learning_rate * factor
        self.schedule, self.warmup, self.final_rate = schedule, warmup, final_rate
        self.adam = {"lr": self.peak, "betas": (beta1, beta2), "weight_decay": weight_decay}
        self.pixel_weights, self.perceptual = (l1, l2), perceptual
        self.semantic, self.refine_semantic = semantic, refine_semantic
        self.rules = GanConfig(game, adversarial, adaptive, r1, r1_every, accumulate)
        self.start, self.ema, self.precision = start, ema, precision
        self.kind, self.width, self.layers = discriminator, discriminator_width, discriminator_layers

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
        if total and size < SMALLEST["vgg"] and (self.perceptual or self.semantic or self.refine_semantic):
            return f"perceptual needs images of {SMALLEST['vgg']} pixels or more, not {size}; set it to 0"
        if not (self.rules.weight and self.start < total):
            return None
        if self.kind == "stylegan":
            whole = size >= 8 and size & (size - 1) == 0
            return None if whole else f"discriminator stylegan needs a power of two, 8 or more, as side, not {size}"
        if size >> self.layers < 3:  # two more convolutions take a position each
            return (
                f"discriminator_layers {self.layers} leave nothing of images of {size} pixels; they need "
                f"{3 << self.layers} or more, so take fewer, or larger images"
            )
        return None

    def fit(self, task: Task) -> Trained:
        pixels = task.dataset.pixels("train")  # (N, C, S, S) uint8, or what gives parts of it
        count = min(len(pixels), self.subset or len(pixels))
        updates = count // self.batch_size  # an epoch's
        if wrong := self.misfit(len(pixels), 0, 0, task.dataset.size):
            raise RunError(wrong)
        first = self.steps if self.steps is not None else updates * (self.epochs or 0)
        total = first + self.refine_steps
        group = task.engine.group
        if self.batch_size < group.size:
            raise RunError(f"batch_size {self.batch_size} leaves no image for some of {group.size} devices; raise it")
        group.from_first_rank(lambda: task.folder.mkdir(parents=True, exist_ok=True))
        players, state = self._begin(task, first)
        reconstruction = self._reconstruction(task, state.step >= first > 0)
        if state.step < total:
            task.engine.add_origin(state.origins)
        clock = Clock(state.seconds)
        sums = torch.tensor(state.sums, device=task.engine.device)  # read once an epoch
        ahead = None  # batches, decoded
        while state.step < total:
            epoch, position = divmod(state.step, updates)
            if state.step == first:
                players.refine()
                reconstruction = self._reconstruction(task, refining=True)
            if ahead is None or position == 0:
                ahead = self._batches(task, pixels, count, epoch, position)
            x = to_unit(next(ahead).to(task.engine.device))  # this rank's part of the batch
            task.engine.seed(task.seeds("update", state.step))
            task.model.quantizer.anneal(min(1.0, state.step / max(1, first)))
            players.set_rate(self._rate(state.step, first))
            playing = self.rules.weight > 0 and state.step >= self.start
            penalized = self.rules.r1 > 0 and state.step % self.rules.r1_every == 0
            with task.engine.batch(self.batch_size, task.model):
                sums += players.update(x, reconstruction, playing, penalized)
                task.watch.codes(players.codes)
            state.step += 1
            state.since += 1
            task.progress(state.step, total)

            ended = position + 1 == updates or state.step in (first, total)
            decided = group.broadcast_number(2 * task.stopped() + clock.due())  # by the first rank for all
            stopped, due = decided > 1, decided > 0 or state.step == total
            if not (ended or due):
                continue
            state.sums = sums.tolist()
            if not all(map(math.isfinite, state.sums)):
                raise RunError(
                    f"a loss became NaN or infinite in epoch {epoch + 1}, by update {state.step} of {total} "
                    f"({', '.join(f'{name} {value:g}' for name, value in zip(TERMS, state.sums, strict=True))}); lower "
                    "the learning rate"
                )
            task.engine.require_equal(task.model, type(task.model.quantizer).__name__)
            task.engine.require_equal(players.discriminator, "the discriminator")
            if ended:
                means = {name: value / state.since for name, value in zip(TERMS, state.sums, strict=True)}
                used = task.watch.epoch_ended()
                state.history.append({"epoch": epoch + 1, "update": state.step, **means, **used})
                task.told(state.history[-1])
                state.since, state.sums = 0, [0.0] * len(TERMS)
                sums.zero_()
            if due:
                with clock.saving():
                    self._save(task, players, state, clock)
            if stopped:
                raise Interrupted(f"stopped after update {state.step} of {total}")

        task.watch.save(task.folder)
        weights = players.average.of(task.model) if players.average is not None else task.model.state_dict()
        task.engine.save(task.folder / "best.pt", weights)
        task.model.load_state_dict(weights)
        task.model.requires_grad_(True)
        return Trained(seconds=clock.seconds, history=state.history, origins=state.origins)

    def _rate(self, step: int, first: int) -> float:
        if step >= first:
            return learning_rate(step - first, self.refine_steps, self.refine_peak, self.schedule, 0, self.final_rate)
        return learning_rate(step, first, self.peak, self.schedule, self.warmup, self.final_rate)

    def _reconstruction(self, task: Task, refining: bool) -> Reconstruction:
        semantic = self.refine_semantic if refining else self.semantic
        return Reconstruction(task.engine, *self.pixel_weights, self.perceptual, semantic)

    def _begin(self, task: Task, first: int) -> tuple[GanTrainer, Progress]:
        """Everything as it is before the next update: at the start, or after the last checkpoint."""
        torch.manual_seed(task.seeds("discriminator"))
        channels, size = task.dataset.channels, task.dataset.size
        discriminator: torch.nn.Module
        if self.kind == "patch":
            discriminator = Patch(channels, self.width, self.layers)
        else:
            discriminator = StyleGAN(channels, size, self.width)
        discriminator = discriminator.to(task.engine.device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's overloads leave it out
        task.model.train()
        players = GanTrainer(task.model, discriminator, self.rules, task.engine, self.adam, self.ema)
        path = task.folder / "last.pt"
        if not task.engine.group.from_first_rank(path.exists):
            self._put_codebook(task)
            task.watch.start(task.model.quantizer, task.engine.device)
            return players, Progress()
        saved = task.engine.load(path)
        with task.engine.restoring(path):
            task.watch.start(task.model.quantizer, task.engine.device, saved.pop("watch"))
            state = restored(Progress, saved.pop("progress"))
            if state.step > first:
                players.refine()
            for name, each in players.parts():
                each.load_state_dict(saved[name])
        return players, state

    @staticmethod
    @torch.no_grad()
    def _put_codebook(task: Task) -> None:
        """The codebook that a backbone's weights came with, where there is one, becomes the quantizer's."""
        brought = task.model.backbone.codebook
        if brought is None:
            return
        own = getattr(task.model.quantizer, "codebook", None)
        if own is None or own.shape != brought.shape:
            there = "none that can be set" if own is None else f"one of {len(own)} x {own.shape[1]}"
            raise RunError(
                f"the backbone's file has a codebook of {len(brought)} codes x {brought.shape[1]}, the quantizer has "
                f"{there}; use vq, with codebook: {{num_codes: {len(brought)}, dim: {brought.shape[1]}}}"
            )
        own.copy_(brought)

    def _batches(self, task: Task, pixels: Tensor | Images, count: int, epoch: int, start: int) -> Iterator[Tensor]:
        """The epoch's batches from number ``start`` on, uint8, in an order that is the same for all quantizers."""
        generator = torch.Generator().manual_seed(task.seeds("order", epoch))
        whole = torch.randperm(count, generator=generator)[: count // self.batch_size * self.batch_size]
        own = rank_slice(self.batch_size, task.engine.group.rank, task.engine.group.size)
        order = whole.view(-1, self.batch_size)[:, own]
        return batches(pixels, order.flatten(), order.shape[1], start, task.seeds("augmentation", epoch))

    @staticmethod
    def _save(task: Task, players: GanTrainer, state: Progress, clock: Clock) -> None:
        state.seconds = clock.seconds
        parts = {name: each.state_dict() for name, each in players.parts()}
        task.engine.save(task.folder / "last.pt", {**parts, "progress": asdict(state), "watch": task.watch.state()})
