"""Latent diffusion: a denoiser of features, and its sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqbench.backbone import Autoencoder
from vqbench.errors import UsageError
from vqbench.functional.precision import strictly
from vqbench.networks.compat import ensure_torchvision
from vqbench.training.engine import upload
from vqbench.training.latents.generator import Generator

STEPS = 1000  # T, of the noising chain
BETAS = 0.0015, 0.0195  # first and last; between them the square of a linear ramp of their roots


def scheduler(steps: int | None = None) -> Any:
    """Return diffusers' DDIM on the noising chain of latent diffusion.

    Its betas go from 0.0015 to 0.0195 in T = 1,000 steps.

    ``steps`` are every (T / steps)th step from 1 on, as in the released code, or all T from 0 on. Raises UsageError
    for a number that does not divide 1,000, of which the released code would take more steps, and diffusers would start
    far from noise. Features have no range to clip to.
    """
    ensure_torchvision()
    from diffusers import DDIMScheduler

    if steps is not None and STEPS % steps:
        raise UsageError(
            f"{steps} steps of DDIM do not divide {STEPS:,}; take a divisor of it, such as 50, 100, 200, 250 or 1000"
        )
    chain: Any = DDIMScheduler(
        num_train_timesteps=STEPS,
        beta_start=BETAS[0],
        beta_end=BETAS[1],
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=0 if steps == STEPS else 1,
    )
    if steps is not None:
        chain.set_timesteps(steps)
    return chain


def require_diffusers() -> None:
    """Raises UsageError without the package diffusers."""
    try:
        scheduler()
    except ImportError as error:
        raise UsageError(
            f"second stages need the package diffusers ({error}); pip install 'vqbench[generate]'"
        ) from None


def unet(dim: int, channels: int, multipliers: Sequence[int], attention: Sequence[int], blocks: int) -> nn.Module:
    """Return diffusers' UNet with one level for each multiplier of ``channels``.

    Levels whose downsampling factor is in ``attention``, and the middle, have attention. 32 channels per head and 32
    groups per normalization (or the largest divisor of both): the UNet of latent diffusion, except that there the last
    convolution of each block starts at zero.
    """
    ensure_torchvision()
    from diffusers import UNet2DModel

    levels = len(multipliers)
    attends = [2**level in attention for level in range(levels)]
    net: Any = UNet2DModel(
        in_channels=dim,
        out_channels=dim,
        block_out_channels=tuple(channels * multiplier for multiplier in multipliers),
        layers_per_block=blocks,
        down_block_types=tuple("AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends),
        up_block_types=tuple("AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)),
        attention_head_dim=math.gcd(32, channels),
        norm_num_groups=math.gcd(32, channels),
    )
    module: nn.Module = net
    return module


class Denoiser(Generator):
    """A UNet that predicts the noise in standardized features."""

    mean: Tensor
    scale: Tensor

    def __init__(self, net: nn.Module, first: Autoencoder, shape: Sequence[int], levels: int) -> None:
        super().__init__(first)
        self.net = net
        self.shape = tuple(shape)  # (dim, s, s) of the features
        self.multiple = 2 ** (levels - 1)  # the sides of the UNet's input must be a multiple of it
        self.register_buffer("mean", torch.zeros(self.shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(self.shape[0], 1, 1))

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Encode images (B, C, S, S) in [-1, 1] to features (B, dim, s, s)."""
        return self.first.backbone.encode(x).float()

    def scale_to(self, mean: Tensor, deviation: Tensor) -> None:
        """Standardize by ``mean`` and ``deviation``, () or by channel (dim,)."""
        floor = 1e-3 * deviation.max()  # a constant channel stays constant
        self.mean.copy_(mean.view(-1, 1, 1))
        self.scale.copy_(deviation.clamp_min(floor).view(-1, 1, 1))

    def standardized(self, features: Tensor) -> Tensor:
        """Return standardized features (B, dim, s, s), the input of the UNet."""
        return (features - self.mean) / self.scale

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict the noise in ``x`` (B, dim, s, s) at steps ``t``, (B,) or ().

        Sides that cannot be halved as often as the UNet does are padded with zeros, such as 7 to 8 at two or four
        levels, and its output is cropped.
        """
        margin = -x.shape[-1] % self.multiple
        seen = F.pad(x, (0, margin, 0, margin))
        noise: Tensor = self.net(seen, t).sample
        return noise[..., : x.shape[-2], : x.shape[-1]].float()

    @torch.no_grad()
    def decode(self, x: Tensor) -> Tensor:
        """Quantize and decode standardized features to images in [-1, 1]."""
        z = x * self.scale + self.mean
        return self.first.backbone.decode(strictly(self.first.quantizer, z).z_q)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], *, steps: int, eta: float) -> Tensor:  # type: ignore[override]  # the settings of its own sampler
        """Sample by DDIM.

        ``eta`` 0 adds no noise in its ``steps``, 1 as much as the chain of DDPM.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]

        def noise() -> Tensor:
            each = [torch.randn(self.shape, generator=generator) for generator in generators]
            return upload(torch.stack(each), self.scale.device)

        chain = scheduler(steps)
        x = noise()
        for t, on_device in zip(chain.timesteps, upload(chain.timesteps, x.device), strict=True):
            predicted = self(x, on_device)
            more = noise() if eta > 0 else None
            x = chain.step(predicted, t, x, eta=eta, variance_noise=more).prev_sample
        return self.decoded(x)
