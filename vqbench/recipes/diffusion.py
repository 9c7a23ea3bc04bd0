"""Generation: a diffusion model on the features of a trained autoencoder, the recipe of the second stage."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench.dataset import Pictures
from vqbench.engine import Precision
from vqbench.errors import Interrupted, RunError, UsageError
from vqbench.generation.generator import STEPS, Generator, require_diffusers, scheduler, unet
from vqbench.model import Autoencoder
from vqbench.pictures import to_unit
from vqbench.recipe import SecondStage, Task, Trained
from vqbench.recipes.autoencoder import CHECKPOINT_EVERY

SPARED = 20  # times as long as writing a checkpoint takes, the next one waits: a large UNet has some gigabytes
ENCODED = 500  # pictures that are encoded at once


@dataclass
class Progress:
    """What must be kept, besides the weights, so that a training goes on as if it had never stopped."""

    step: int = 0
    seconds: float = 0.0
    loss: float = 0.0  # sum over the epoch's updates so far
    history: list[dict[str, Any]] = field(default_factory=list)


class Diffusion(SecondStage):
    """Denoising diffusion (T = 1,000) of the features before quantization; the decoder quantizes what is sampled.

    Mean squared error of the predicted noise, at a step drawn evenly for each picture. AdamW at a constant rate; kept
    is the moving average of the weights, a ← d·a + (1 − d)·w with d = min(``ema``, (1 + n)/(10 + n)) at update n.
    Features of all training pictures (and, with ``flips``, of their mirror images) are computed once, kept in memory
    and brought to unit variance: by one factor (``scaling`` global, as released) or each channel to zero mean and unit
    variance (``channel``, for features whose channels differ much).

    The UNet is diffusers': ``channels`` times each of ``multipliers``, ``blocks`` residual blocks a level, attention at
    the downsampling factors ``attention``. The defaults are those of latent diffusion on LSUN bedrooms, whose learning
    rate is 2e-6 times the pictures of an update, 48; maps of 7x7 or 8x8 positions need a small one, such as channels
    64, multipliers "1x2" and attention "2".

    Random numbers of an update derive from the run's seed and the update's number, so that a run that was stopped
    anywhere, or shared by several ranks, ends with the same weights. Source: Rombach et al., High-Resolution Image
    Synthesis with Latent Diffusion Models, CVPR 2022, arXiv 2112.10752, and its released code; not taken over from
    there: the dividing of features by the deviation of the first batch alone.
    """

    VERSION = 1
    packages = ("diffusers",)
    distributed = True

    def __init__(
        self,
        *,
        steps: int,
        batch_size: int = 48,
        learning_rate: float = 9.6e-5,
        channels: int = 224,
        multipliers: str = "1x2x3x4",
        attention: str = "2x4x8",
        blocks: int = 2,
        ema: float = 0.9999,
        scaling: Literal["global", "channel"] = "global",
        flips: bool = False,
        subset: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        self.steps, self.batch_size, self.learning_rate = steps, batch_size, learning_rate
        self.channels, self.blocks, self.ema = channels, blocks, ema
        self.multipliers, self.attention = _numbers("multipliers", multipliers), _numbers("attention", attention)
        self.scaling, self.flips, self.subset, self.precision = scaling, flips, subset, precision

    def generator(self, first: Autoencoder, channels: int, size: int) -> Generator:
        require_diffusers()
        with torch.no_grad():
            parameter = next(first.parameters())
            blank = torch.zeros(1, channels, size, size, device=parameter.device)
            shape = first.backbone.encode(blank).shape[1:]
        net = unet(shape[0], self.channels, self.multipliers, self.attention, self.blocks)
        return Generator(net, first, shape, len(self.multipliers)).to(parameter.device)

    def fit(self, task: Task) -> Trained:
        task.engine.seed(task.seeds("second stage"))
        generator = self.generator(task.model, task.dataset.channels, task.dataset.size)
        pictures = task.dataset.pixels("train")  # (N, C, S, S) uint8
        count = min(len(pictures), self.subset or len(pictures))
        if self.batch_size > count:
            raise RunError(f"batch_size {self.batch_size} is larger than the {count} training pictures; lower it")
        features = self._features(generator, pictures, count)
        optimizer = torch.optim.AdamW(generator.parameters(), lr=self.learning_rate)
        task.engine.group.agree(lambda: task.folder.mkdir(parents=True, exist_ok=True))
        model, optimizer = task.engine.setup(generator, optimizer)  # type: ignore[assignment]
        average = {name: value.detach().clone() for name, value in generator.named_parameters()}
        state = self._restore(task, generator, average, optimizer)

        chain = scheduler()
        updates = count // self.batch_size  # an epoch's; pictures that fill no batch wait for another order
        started = saved = time.monotonic()
        pause = CHECKPOINT_EVERY
        total = torch.tensor(state.loss, device=features.device)  # read once an epoch
        model.train()
        while state.step < self.steps:
            epoch, position = divmod(state.step, updates)
            index = self._order(task, epoch, count)[position * self.batch_size :][: self.batch_size]
            task.engine.seed(task.seeds("update", state.step))
            z, noise, t = self._batch(features, index)
            with task.engine.batch(len(index), generator) as own:
                x = chain.add_noise(z[own], noise[own], t[own])
                loss = F.mse_loss(model(x, t[own]), noise[own])
                optimizer.zero_grad()
                task.engine.backward(loss)
                optimizer.step()
                total += task.engine.mean(loss.detach())
            state.step += 1
            self._average(average, generator, state.step)
            task.progress(state.step, self.steps)

            done = state.step == self.steps
            stopped = task.stopped()
            due = task.engine.group.number(2 * stopped + (stopped or time.monotonic() - saved > pause))
            ended = position + 1 == updates or done
            if not (ended or due):
                continue
            state.loss = float(total)
            if not math.isfinite(state.loss):
                raise RunError(f"the loss became {state.loss} up to update {state.step}; lower the learning rate")
            if ended:
                state.history.append({"epoch": epoch + 1, "loss": state.loss / (position + 1)})
                state.loss = 0.0
                total.zero_()
            if due or done:
                state.seconds += time.monotonic() - started
                started = time.monotonic()
                self._save(task, generator, average, optimizer, state)
                saved = time.monotonic()
                pause = max(CHECKPOINT_EVERY, SPARED * (saved - started))
            if due > 1:
                raise Interrupted(f"stopped after update {state.step} of {self.steps}")

        task.engine.require_equal(generator, "the denoiser")
        generator.load_state_dict({**generator.state_dict(), **average})
        task.engine.save(task.folder / "best.pt", generator.state_dict())
        return Trained(seconds=state.seconds, history=state.history)

    def _features(self, generator: Generator, pictures: Tensor | Pictures, count: int) -> Tensor:
        """The features of the first ``count`` pictures, then of their mirror images, on the device, standardized."""
        device, parts, mirrored = generator.scale.device, [], []
        for start in range(0, count, ENCODED):
            x = to_unit(pictures[start : min(start + ENCODED, count)].to(device))
            parts.append(generator.encode(x))
            if self.flips:
                mirrored.append(generator.encode(x.flip(-1)))
        features = torch.cat(parts + mirrored)  # (N or 2 N, dim, s, s)
        generator.scale_to(features, self.scaling == "channel")
        return features.sub_(generator.mean).div_(generator.scale)

    def _batch(self, features: Tensor, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (B, dim, s, s) of the pictures at ``index``, noise for them, and steps (B,): alike on all ranks."""
        device = features.device
        if self.flips:
            index = index + torch.randint(2, index.shape) * (len(features) // 2)
        z = features[index.to(device)]
        return z, torch.randn(z.shape).to(device), torch.randint(STEPS, index.shape).to(device)

    def _order(self, task: Task, epoch: int, count: int) -> Tensor:
        """The epoch's order of the training pictures, the same for all rows of a seed; kept until the next epoch."""
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
        if not task.engine.group.agree(path.exists):
            return Progress()
        saved = task.engine.load(path)
        generator.load_state_dict(saved["generator"])
        for name, value in saved["average"].items():
            average[name].copy_(value)
        optimizer.load_state_dict(saved["optimizer"])
        return Progress(**saved["progress"])


def _numbers(argument: str, text: str) -> list[int]:
    """Whole numbers from 1 on, joined by x; attention may be none. Raises UsageError for anything else."""
    words = text.split("x") if text or argument == "multipliers" else []
    if not all(word.isdigit() and int(word) > 0 for word in words):
        raise UsageError(f"diffusion, argument {argument!r}: {text!r} is no list of whole numbers such as '1x2x4'")
    return [int(word) for word in words]
