"""Compute the golden values of ``vqbench doctor``.

Fixed weights and inputs, all in closed form, go through every built-in quantizer, one backbone and every metric.
"""

from __future__ import annotations

import hashlib
import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vqbench import protocol, registry
from vqbench.conformance.quantizers.case import QuantizerCase
from vqbench.images import as_measured, to_unit
from vqbench.metric import Batch, Context, Metric, SampleMetric, Samples
from vqbench.quantizer import Quantizer

IMAGES = 8  # of the shipped test split
STEP = 0x9E377  # odd: multiples of squares of positions, modulo 2^32, are phases without a visible pattern
Values = dict[str, float]


@dataclass(frozen=True)
class ValueGroup:
    """Values that are computed together, with the tolerance of all of them.

    The deviation is abs(value - kept) / (abs(kept) + 0.001).
    """

    name: str
    compute: Callable[[], Values]
    tolerance: float
    asset: str | None = None  # the weights that it needs


# Closed forms ---------------------------------------------------------------------------------------------------------


def wave(name: str, *shape: int) -> Tensor:
    """Return numbers in [-1, 1] that look random, equal on all machines.

    They are sines of the squares of their positions.
    """
    i = torch.arange(math.prod(shape))
    turns = ((i * i * STEP + zlib.crc32(name.encode())) % 2**32).double() / 2**32  # exact, so the same everywhere
    return torch.sin(2 * math.pi * turns).float().reshape(shape)


@torch.no_grad()
def fill(module: nn.Module) -> nn.Module:
    """Set every parameter and floating buffer to values by its name.

    Scalars and counters keep their own.
    """
    for path, part in module.named_modules():
        weighs = isinstance(part, nn.Linear | nn.modules.conv._ConvNd)
        for name, value in [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]:
            if not value.is_floating_point() or value.ndim == 0:
                continue
            filled = wave(f"{path}.{name}", *value.shape)
            if value.ndim == 1:  # biases around 0; gains, counts and variances around 1
                filled = filled / 2 if "bias" in name else 1 + filled / 2
            elif weighs:
                filled = filled * math.sqrt(2 * value.shape[0] / value.numel())
            value.copy_(filled)
    return module.eval()


def _moments(name: str, values: Tensor) -> Values:
    """Return two numbers that change with every element of ``values``."""
    exact = values.detach().double().cpu()
    weights = wave("weights", *exact.shape).double()
    return {f"{name} mean square": float(exact.square().mean()), f"{name} projection": float((exact * weights).mean())}


# Groups ---------------------------------------------------------------------------------------------------------------


def _levels(split: Literal["train", "test"] = "test") -> Tensor:
    """Return the first images, (IMAGES, 1, 28, 28) uint8."""
    dataset: Any = registry.load("datasets", "fashion_mnist_5k")()
    levels: Tensor = dataset.pixels(split)[:IMAGES]
    return levels


def _images() -> Values:
    """Return the digest of the shipped images, as a number."""
    return {"digest": int(hashlib.sha256(_levels().numpy().tobytes()).hexdigest()[:7], 16)}


def _backbone() -> Values:
    """Encode and decode by the convolutional backbone."""
    backbone: Any = fill(registry.load("backbones", "conv")(channels=1, dim=8, hidden=16, residual_hidden=8))
    with torch.no_grad():
        z = backbone.encode(to_unit(_levels()))
        return _moments("encoded", z) | _moments("decoded", backbone.decode(z))


def built_in_quantizers() -> Iterator[QuantizerCase]:
    """Yield every built-in quantizer and preset.

    Not those of another package, whose release decides what they compute.
    """
    for name in [*registry.names("quantizers"), *registry.presets("quantizers")]:
        plugin, cls, args = registry.find("quantizers", name)
        if registry.sources("quantizers")[plugin].origin == "built-in" and plugin != "lucidrains":
            yield QuantizerCase(name, cls, args)


def _quantizers() -> Values:
    values: Values = {}
    for case in built_in_quantizers():
        values |= forward(case.name, case.build(), wave("features", 2, case.dim, 7, 7))
    return values


def forward(name: str, quantizer: Quantizer, z: Tensor) -> Values:
    """Return moments of one pass in evaluation, with filled weights.

    Of output, codes, loss and gradient.
    """
    fill(quantizer)
    z = z.requires_grad_()
    out = quantizer(z)
    values = _moments(f"{name} output", out.z_q) | {f"{name} loss": float(out.loss.detach())}
    if quantizer.depth:
        values |= _moments(f"{name} codes", out.codes + 1)
    target = out.loss + (out.z_q * wave("target", *out.z_q.shape)).sum()
    if target.requires_grad:  # some have a gradient in training only
        values |= _moments(f"{name} gradient", torch.autograd.grad(target, z)[0])
    return values


def _batch(name: str) -> tuple[Context, Batch]:
    """Return images, distorted copies and codes as protocol ``name`` measures."""
    measured, x = protocol.measuring(name), to_unit(_levels())
    y = x + wave("distortion", *x.shape) / 4
    codes = (wave("codes", IMAGES, 7, 7, 1).abs() * 32).long()
    batch = Batch(as_measured(x, measured), as_measured(y, measured), codes, torch.arange(IMAGES))
    return Context(measured, "golden", 64, 6.0, torch.device("cpu"), keep=False), batch


def _measured(*names: str) -> Values:
    """Compute the metrics ``names`` under every measuring protocol."""
    values: Values = {}
    for each in protocol.MEASURE:
        context, batch = _batch(each)
        for name in names:
            metric: Any = registry.load("metrics", name)(context)
            metric.update(batch)
            values[f"{name} under {each}"] = metric.compute()
    return values


def _samples() -> Values:
    """Compute the metrics of generated images, on features in closed form.

    So no network is needed.
    """
    values: Values = {}
    features = wave("samples", 64, 16), wave("references", 64, 16) * 1.1
    for each in protocol.MEASURE:
        context, _ = _batch(each)
        samples = Samples(
            _levels(),
            _levels("train"),
            lambda: features[0],
            lambda: features[1],
            bits_of_test_images=lambda: 100 + wave("bits", 8).double(),
        )
        for name in registry.names("metrics"):
            cls: type[Metric] = registry.load("metrics", name)
            if issubclass(cls, SampleMetric):
                value = cls(context).measure(samples)
                assert value is not None
                values[f"{name} under {each}"] = value
    return values


def _inception() -> Values:
    """Compute the features of rFID, KID and FID, by both ways of resizing."""
    from vqbench.networks import inception

    net = inception.network(torch.device("cpu"))
    values: Values = {}
    for name, measured in protocol.MEASURE.items():
        _, batch = _batch(name)
        values |= _moments(f"features under {name}", inception.features(net, batch.originals[:2], measured.fid_resize))
    return values


GROUPS = (
    ValueGroup("images", _images, 0),
    ValueGroup("backbone", _backbone, 1e-4),
    ValueGroup("quantizers", _quantizers, 1e-4),
    ValueGroup("metrics of pixels", lambda: _measured("l1", "psnr", "ssim"), 1e-3),
    ValueGroup("metrics of codes", lambda: _measured("usage", "perplexity", "bits", "entropy"), 1e-6),
    ValueGroup("metrics of samples", _samples, 1e-4),
    ValueGroup("LPIPS", lambda: _measured("lpips"), 1e-3, "vgg16_lpips"),
    ValueGroup("Inception features", _inception, 1e-3, "inception_fid"),
)
