"""One update of the model and of its discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.distributed.collectives import all_sum, world_size
from vqbench.distributed.gradients import mean, share, sum_gradients
from vqbench.model import Autoencoder
from vqbench.training.adversarial import losses
from vqbench.training.adversarial.losses import GanLoss
from vqbench.training.adversarial.passes import BatchPass, FullBatch, MicroBatches
from vqbench.training.adversarial.reconstruction import Reconstruction
from vqbench.training.engine import Engine

TERMS = ("reconstruction", "quantizer", "adversarial", "weight", "discriminator", "r1")


@dataclass(frozen=True)
class GanConfig:
    """How the two play."""

    game: GanLoss
    weight: float  # of the adversarial loss
    adaptive: bool  # times the ratio of the gradients at the decoder's last layer
    r1: float  # gamma; 0: no penalty
    r1_every: int
    accumulate: int


class GanTrainer:
    """The model, its discriminator and what they learn by: all that an update changes.

    The model's update comes first. The discriminator then learns from the same reconstructions, made before the update,
    where taming-transformers makes new ones, which would move the codebooks of many quantizers a second time.
    """

    def __init__(
        self,
        model: Autoencoder,
        discriminator: nn.Module,
        rules: GanConfig,
        engine: Engine,
        adam: dict[str, Any],
    ) -> None:
        self.model, self.discriminator, self.rules, self.engine = model, discriminator, rules, engine
        self.adam = adam
        self.optimizer = self._adam(model)
        self.opponent = self._adam(discriminator)
        self.codes = torch.empty(0, dtype=torch.int64)  # (B, H, W, depth) of the last update's images

    def _adam(self, module: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.AdamW([each for each in module.parameters() if each.requires_grad], **self.adam)

    def refine(self) -> None:
        """Go over to the second phase: the backbone freezes what is not refined, the quantizer no longer changes."""
        self.model.backbone.begin_refinement()
        self.model.quantizer.requires_grad_(False).eval()
        self.optimizer = self._adam(self.model)

    def set_rate(self, rate: float) -> None:
        """The learning rate of the next update."""
        for optimizer in (self.optimizer, self.opponent):
            for group in optimizer.param_groups:
                group["lr"] = rate

    def update(self, x: Tensor, reconstruction: Reconstruction, playing: bool, penalized: bool) -> Tensor:
        """Learn from the images ``x`` (B, C, S, S) in [-1, 1], this rank's part of a batch; what TERMS were, (6,).

        Without ``playing`` the discriminator takes no part. ``penalized``: this update has the R1 penalty.
        """
        zero = torch.zeros((), device=x.device)
        batch: BatchPass
        if self.rules.accumulate == 1:
            batch = FullBatch(self.model, self.engine, x)
        else:
            batch = MicroBatches(self.model, self.engine, x, self.rules.accumulate)
        error, gradient = reconstruction.gradient(batch.images, x, self.rules.accumulate)
        objective, slope = self._objective(error, batch, x[0].numel())
        fooling = weight = judged = penalty = zero
        if playing:
            fooling, away = self._fooling(batch.images)
            weight = torch.tensor(self.rules.weight, device=x.device)
            if self.rules.adaptive:
                pulls = [mean(pull) for pull in batch.at_last_layer(gradient, away)]  # before their norms are taken
                weight = weight * losses.adaptive_weight(*pulls)
            gradient = gradient + weight * away
        self.optimizer.zero_grad()
        batch.backward(share(objective), share(slope * gradient))
        sum_gradients(self.model)
        self.optimizer.step()
        if playing:
            judged, penalty = self._judge(x, batch.images, penalized)
        self.codes = batch.out.codes.detach()
        terms = (error, batch.out.loss, fooling, weight, judged, penalty)
        return mean(torch.stack([term.detach().float() for term in terms]))

    def _objective(self, error: Tensor, batch: BatchPass, pixels: int) -> tuple[Tensor, Tensor]:
        """The quantizer's objective of the reconstruction ``error``, and its derivative by that."""
        error = mean(error).requires_grad_()
        objective = self.model.quantizer.objective(error, batch.out, pixels)
        (slope,) = torch.autograd.grad(objective, error, retain_graph=True)
        return objective, all_sum(slope) / world_size()  # each rank's, whether it exchanged the error or not

    def _fooling(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The generator's loss, and its gradient at the reconstructions."""
        images = images.detach().requires_grad_()
        loss = losses.generator_loss(self._logits(images), self.rules.game)
        (gradient,) = torch.autograd.grad(share(loss), images)
        return loss, gradient / share(torch.ones_like(loss))

    def _judge(self, x: Tensor, images: Tensor, penalized: bool) -> tuple[Tensor, Tensor]:
        """Update the discriminator; its loss, and the R1 penalty if this update has one."""
        real = x.detach().requires_grad_(penalized)
        logits = self._logits(real)
        loss = losses.discriminator_loss(logits, self._logits(images), self.rules.game)
        penalty = torch.zeros((), device=x.device)
        if penalized:
            penalty = self.rules.r1 / 2 * losses.r1(logits, real)
        self.opponent.zero_grad()
        share(loss + self.rules.r1_every * penalty).backward()
        sum_gradients(self.discriminator)
        self.opponent.step()
        return loss, penalty

    def _logits(self, images: Tensor) -> Tensor:
        with self.engine.autocast():
            logits: Tensor = self.discriminator(images)
            return logits.float()

    def parts(self) -> dict[str, Any]:
        """Return everything with a state, by its name in a checkpoint."""
        names = ("model", "discriminator", "optimizer", "opponent")
        return {name: getattr(self, name) for name in names}
