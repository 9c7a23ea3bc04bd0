"""Generation: a diffusion model on the features of a trained autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.backbone import Autoencoder
from vqbench.bounds import Decay, Layers, PositiveFloat, PositiveInt, Width, whole
from vqbench.errors import UsageError, shortened
from vqbench.training.engine import Precision, upload
from vqbench.training.latents.denoiser import STEPS, Denoiser, require_diffusers, scheduler, unet
from vqbench.training.latents.recipe import LatentRecipe


class Diffusion(LatentRecipe):
    """Denoising diffusion (T = 1,000) of features before quantization.

    Sampled features are quantized.

    The loss is the mean squared error of the predicted noise, at a step drawn uniformly for each image. AdamW at a
    constant rate; the moving average of the weights is kept: a ← d·a + (1 − d)·w with d = min(``ema``,
    (1 + n)/(10 + n)) at update n. Features of all training images (and, with ``flips``, of their mirror images) are
    computed once, stored in memory or in a file of the run's folder, and scaled to unit variance: by one factor
    (``scaling`` global), or each channel to zero mean and unit variance (``channel``, for features whose channels
    differ much).

    The UNet is diffusers': ``channels`` times each of ``multipliers``, ``blocks`` residual blocks per level, attention
    at the downsampling factors ``attention``. The defaults are those of latent diffusion on LSUN bedrooms, whose
    learning rate is 2e-6 times the batch size, 48; maps of 7x7 or 8x8 positions need a small one, such as channels 64,
    multipliers "1x2" and attention "2".

    Samples are drawn by DDIM: the released code used 200 ``steps`` with ``eta`` 1 on LSUN bedrooms. At eta 0 the first
    noise alone determines an image; at 1 every step adds as much noise as the Markov chain of DDPM.

    The length is a number of ``steps`` (updates), or of ``epochs`` over the training images.

    Random numbers of an update derive from the run's seed and the update's number, so that a training that was stopped
    anywhere, or shared by several ranks, ends with the same weights. Source: Rombach et al., High-Resolution Image
    Synthesis with Latent Diffusion Models, CVPR 2022, arXiv 2112.10752, and its released code. Different from there:
    the deviation is that of all features, not of the first batch, and features of quantizing autoencoders are divided
    by it as well (there, only those of KL-regularized ones); no convolution of the UNet starts at zero.
    """

    VERSION = 1
    check_args: ClassVar = {
        "steps": 5,
        "batch_size": 6,
        "channels": 32,
        "multipliers": "1",
        "attention": "1",
        "blocks": 1,
        "ema": 0.9,
    }
    packages = ("diffusers",)
    install = "'vqbench[generate]'"
    sampler: ClassVar[Mapping[str, float]] = {"steps": 200, "eta": 1.0}

    def __init__(
        self,
        *,
        steps: PositiveInt | None = None,
        epochs: PositiveInt | None = None,
        batch_size: PositiveInt = 48,
        learning_rate: PositiveFloat = 9.6e-5,
        channels: Width = 224,
        multipliers: str = "1x2x3x4",
        attention: str = "2x4x8",
        blocks: Layers = 2,
        ema: Decay = 0.9999,
        scaling: Literal["global", "channel"] = "global",
        flips: bool = False,
        subset: PositiveInt | None = None,
        precision: Precision = "float32",
    ) -> None:
        super().__init__(steps, epochs, batch_size, learning_rate, ema, flips, subset, precision)
        self.channels, self.blocks, self.by_channel = channels, blocks, scaling == "channel"
        self.multipliers, self.attention = _numbers("multipliers", multipliers), _numbers("attention", attention)

    @classmethod
    def wrong_setting(cls, name: str, value: Any) -> str | None:
        if name == "steps" and (type(value) is not int or value < 1 or 1000 % value):
            return "a divisor of 1,000, such as 50, 100, 200, 250, 500 or 1000"
        if name == "eta" and not (type(value) in (int, float) and 0 <= value <= 1):
            return "a number from 0 to 1"
        return None

    def generator(self, first: Autoencoder, channels: int, size: int) -> Denoiser:
        require_diffusers()
        with torch.no_grad():
            parameter = next(first.parameters())
            blank = torch.zeros(1, channels, size, size, device=parameter.device)
            shape = first.eval().backbone.encode(blank).shape[1:]
        net = unet(shape[0], self.channels, self.multipliers, self.attention, self.blocks)
        self._chain.alphas_cumprod = self._chain.alphas_cumprod.to(parameter.device)  # else copied by the first update
        return Denoiser(net, first, shape, len(self.multipliers)).to(parameter.device)

    def standardize(self, generator: Denoiser, moments: Callable[[bool], tuple[Tensor, Tensor]]) -> None:
        mean, deviation = moments(self.by_channel)
        generator.scale_to(mean if self.by_channel else torch.zeros(()), deviation)

    def batch(self, generator: Denoiser, rows: Tensor) -> tuple[Tensor, ...]:
        """Return standardized features, noise (B, dim, s, s) and steps (B,)."""
        z = generator.standardized(rows)
        return z, upload(torch.randn(z.shape), z.device), upload(torch.randint(STEPS, z.shape[:1]), z.device)

    def loss(self, model: nn.Module, z: Tensor, noise: Tensor, t: Tensor) -> Tensor:  # type: ignore[override]  # what its own batch gives
        return F.mse_loss(model(self._chain.add_noise(z, noise, t), t), noise)

    @cached_property
    def _chain(self) -> Any:
        return scheduler()


def _numbers(argument: str, text: str) -> list[int]:
    """Parse positive integers joined by x; attention may be empty.

    Raises UsageError for anything else.
    """
    words = text.split("x") if text or argument == "multipliers" else []
    numbers = [whole(word, 1024) for word in words]
    if None in numbers or len(numbers) > 32:
        raise UsageError(
            f"diffusion, argument {argument!r}: {shortened(text)!r} is no list of whole numbers such as '1x2x4'"
        )
    return [number for number in numbers if number is not None]
