"""One update of a model and of its discriminator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqbench.backbone import Autoencoder
from vqbench.distributed.collectives import all_sum, world_size
from vqbench.distributed.gradients import mean, share, sum_gradients
from vqbench.training.adversarial import losses
from vqbench.training.adversarial.losses import GanLoss
from vqbench.training.adversarial.passes import BatchPass, FullBatch, MicroBatches
from vqbench.training.adversarial.reconstruction import Reconstruction
from vqbench.training.engine import Engine
from vqbench.training.learning_rates import parameter_groups, set_rate

TERMS = ("reconstruction", "quantizer", "adversarial", "weight", "discriminator", "r1")


@dataclass(frozen=True)
class AdamConfig:
    """AdamW of the model and of its discriminator."""

    rate: float  # of the first update; see GanTrainer.set_rate
    betas: tuple[float, float] = (0.5, 0.9)
    weight_decay: float = 0.0  # decoupled
    eps: float = 1e-8

    def over(self, module: nn.Module) -> torch.optim.Optimizer:
        """Return an optimizer of the parameters that require a gradient."""
        parameters = [each for each in module.parameters() if each.requires_grad]
        groups = parameter_groups(parameters, module.quantizer if isinstance(module, Autoencoder) else None)
        return torch.optim.AdamW(groups, lr=self.rate, betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class GanConfig:
    """The adversarial loss and the discriminator's penalty."""

    game: GanLoss
    weight: float  # of the adversarial loss
    adaptive: bool  # times the ratio of the gradients at the decoder's last layer
    r1: float  # gamma; 0: no penalty
    r1_every: int  # updates
    accumulate: int  # parts of a batch
    start: int = 0  # first update of the discriminator

    def plays(self, step: int) -> bool:
        """Return whether the discriminator takes part in update ``step``."""
        return self.weight > 0 and step >= self.start

    def penalizes(self, step: int) -> bool:
        """Return whether update ``step`` has the R1 penalty."""
        return self.r1 > 0 and step % self.r1_every == 0


class GanTrainer:
    """A model, its discriminator and their optimizers: all that an update changes.

    The model's update comes first. The discriminator then learns from the same reconstructions, computed before the
    update; taming-transformers computes new ones, which would move the codebooks of many quantizers a second time.
    """

    def __init__(
        self, model: Autoencoder, discriminator: nn.Module, config: GanConfig, engine: Engine, adam: AdamConfig
    ) -> None:
        self.model, self.discriminator, self.config, self.engine = model, discriminator, config, engine
        self.adam = adam
        self.optimizer = adam.over(model)
        self.opponent = adam.over(discriminator)  # the discriminator's optimizer
        self.codes = torch.empty(0, dtype=torch.int64)  # (B, H, W, depth) of the last update's images

    def begin_refinement(self) -> None:
        """Begin the second phase, of the backbone's decoder alone.

        The backbone freezes what is not refined; the quantizer no longer changes.
        """
        self.model.backbone.begin_refinement()
        self.model.quantizer.requires_grad_(False).eval()
        self.optimizer = self.adam.over(self.model)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next update."""
        for optimizer in (self.optimizer, self.opponent):
            set_rate(optimizer, rate)

    def update(self, x: Tensor, reconstruction: Reconstruction, playing: bool, penalized: bool) -> Tensor:
        """Update the model, then the discriminator; return TERMS, (6,).

        Args:
            x: images (B, C, S, S) in [-1, 1], this rank's part of a batch.
            reconstruction: the loss of reconstructions.
            playing: whether the discriminator takes part.
            penalized: whether this update has the R1 penalty.
        """
        config, zero = self.config, torch.zeros((), device=x.device)
        batch: BatchPass
        if config.accumulate == 1:
            batch = FullBatch(self.model, self.engine, x)
        else:
            batch = MicroBatches(self.model, self.engine, x, config.accumulate)
        error, gradient = reconstruction.gradient(batch.images, x, config.accumulate)  # (), (B, C, S, S)
        objective, slope = self._objective(error, batch, x[0].numel())
        g_loss = weight = d_loss = penalty = zero
        if playing:
            g_loss, g_grad = self._generator_loss(batch.images)
            weight = torch.full((), config.weight, device=x.device)  # no copy from the CPU
            if config.adaptive:
                last_layer_grads = [mean(each) for each in batch.at_last_layer(gradient, g_grad)]  # then their norms
                weight = weight * losses.adaptive_weight(*last_layer_grads)
            gradient = gradient + weight * g_grad
        self.optimizer.zero_grad()
        batch.backward(share(objective), share(slope * gradient))
        sum_gradients(self.model)
        self.optimizer.step()
        if playing:
            d_loss, penalty = self._update_discriminator(x, batch.images, penalized)
        self.codes = batch.out.codes.detach()
        terms = (error, batch.out.loss, g_loss, weight, d_loss, penalty)
        return mean(torch.stack([term.detach().float() for term in terms]))

    def _objective(self, error: Tensor, batch: BatchPass, pixels: int) -> tuple[Tensor, Tensor]:
        """Return the objective () of ``error`` () and its derivative by it."""
        error = mean(error).requires_grad_()
        objective = self.model.quantizer.objective(error, batch.out, pixels)
        (slope,) = torch.autograd.grad(objective, error, retain_graph=True)
        return objective, all_sum(slope) / world_size()  # each rank's, whether it exchanged the error or not

    def _generator_loss(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the generator's loss () and its gradient at ``images``."""
        images = images.detach().requires_grad_()
        loss = losses.generator_loss(self._logits(images), self.config.game)
        (gradient,) = torch.autograd.grad(share(loss), images)
        return loss, gradient / share(torch.ones_like(loss))

    def _update_discriminator(self, x: Tensor, images: Tensor, penalized: bool) -> tuple[Tensor, Tensor]:
        """Update the discriminator; return its loss () and R1 penalty ().

        The penalty is 0 where this update has none.
        """
        real = x.detach().requires_grad_(penalized)
        logits = self._logits(real)
        loss = losses.discriminator_loss(logits, self._logits(images), self.config.game)
        penalty = torch.zeros((), device=x.device)
        if penalized:
            penalty = self.config.r1 / 2 * losses.r1(logits, real)
        self.opponent.zero_grad()
        share(loss + self.config.r1_every * penalty).backward()
        sum_gradients(self.discriminator)
        self.opponent.step()
        return loss, penalty

    def _logits(self, images: Tensor) -> Tensor:
        with self.engine.autocast():
            logits: Tensor = self.discriminator(images)
            return logits.float()

    def parts(self) -> dict[str, Any]:
        """Return everything with a state, by its name in a checkpoint."""
        return {
            "model": self.model,
            "discriminator": self.discriminator,
            "optimizer": self.optimizer,
            "opponent": self.opponent,
        }
