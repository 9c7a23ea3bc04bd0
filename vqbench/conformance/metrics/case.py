"""A metric under test: tiny images, codes and samples, and its values for them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from vqbench import assets
from vqbench.conformance.case import Case
from vqbench.conformance.metrics.tiny_model import LATENT, tiny_model
from vqbench.metric import Batch, Context, Latents, Metric, SampleMetric, Samples
from vqbench.protocol import measuring
from vqbench.registry import Kind

IMAGES = 8
CODES, DEPTH = 16, 2
SIDE = 32  # pixels, or what the metric needs
FEATURES = 2048  # as many as Inception's
IDEAL_TOLERANCE = 1e-3  # relative, and absolute: roots of singular covariances in float64 err by less
SEEDED = "draw from a torch.Generator with a seed of its own"


@dataclass(frozen=True)
class MetricCase(Case):
    """One metric, under one measuring protocol."""

    protocol: str = "clean"

    kind: ClassVar[Kind] = "metrics"

    @property
    def fixed(self) -> tuple[str, ...]:
        return ("context",)

    def missing(self) -> str:
        needed = [] if of_samples(self) else self.cls.assets(measuring(self.protocol))
        absent = [name for name in needed if assets.state(name) == "missing"]
        fetch = f"needs the weights {', '.join(absent)}: `vqbench prepare SUITE` fetches them"
        return super().missing() or (f"metric {self.name!r} {fetch}" if absent else "")

    @property
    def count(self) -> int:
        """How many images it is given, so that two ranks have enough."""
        return max(IMAGES, int(self.cls.fewest) + 2)

    @property
    def side(self) -> int:
        """Pixels a side that it can measure."""
        return max(SIDE, int(self.cls.smallest(measuring(self.protocol))))

    def batch(
        self, count: int | None = None, side: int | None = None, channels: int = 3, noise: float = 0.1, sign: int = 0
    ) -> Batch:
        """Return ``count`` images with reconstructions that are blurred and noisy.

        ``noise`` is the mean deviation of the noise; with 0, reconstructions are the originals. With a ``sign`` of 1
        the noise only brightens, with -1 it only darkens.
        """
        count, side = self.count if count is None else count, side or self.side
        originals = waves(count, channels, side)
        reconstructions = originals.clone()
        if noise:
            draw = torch.Generator().manual_seed(side)
            blurred = F.avg_pool2d(F.pad(originals, (1, 1, 1, 1), mode="replicate"), 3, 1)
            deviations = noise * torch.linspace(0.5, 1.5, count)[:, None, None, None]  # images differ in quality
            normal = torch.randn(originals.shape, generator=draw)
            reconstructions = (blurred + deviations * (sign * normal.abs() if sign else normal)).clamp(0, 1)
        if not self.cls.needs_model:
            return Batch(originals, reconstructions, codes_of(reconstructions), torch.arange(count))
        model = tiny_model(CODES, channels, side)  # the noise of the images is that of the codes and features
        z, z_q = (model.backbone.encode(2 * images - 1) for images in (originals, reconstructions))
        return Batch(originals, reconstructions, model.quantize_features(z).codes, torch.arange(count), Latents(z, z_q))

    def context(self, batch: Batch, quantized: bool = True) -> Context:
        """Return the context of a run on the originals of ``batch``."""
        context = Context(
            protocol=measuring(self.protocol),
            dataset=hashlib.sha256(batch.originals.contiguous().numpy().tobytes()).hexdigest(),
            num_codes=CODES if quantized else None,
            bits=4.0 * DEPTH if quantized else None,
            device=torch.device("cpu"),
            depth=DEPTH if quantized else 1,
        )
        if not self.cls.needs_model:
            return context
        channels, side = batch.originals.shape[1:3]
        model = tiny_model(CODES, channels, side, quantized)
        return replace(context, model=model, image_shape=(channels, side, side), latent_shape=LATENT)

    def metric(self, batch: Batch, quantized: bool = True) -> Metric:
        """Construct the metric and start it for the images of ``batch``."""
        context = self.context(batch, quantized)
        metric = cast(Metric, self.cls(context))
        metric.start(context)
        return metric

    def value(self, batch: Batch, sizes: Sequence[int] = ()) -> float:
        """Return the value of ``batch``, given in parts of these ``sizes``."""
        metric = self.metric(batch)
        for piece in pieces(batch, sizes or (len(batch.index),)):
            metric.update(piece)
        return number(metric.compute())

    # Generated images -------------------------------------------------------------------------------------------------

    def samples(
        self, count: int | None = None, references: int | None = None, same: bool = False, shift: int = 0
    ) -> Samples:
        """Return samples and training images, with features that follow from them.

        ``same``: the samples are the references. ``shift``: levels by which the samples are brighter.
        """
        training = (255 * waves(references or 3 * self.count, 3, SIDE)).round().byte()
        images = training if same else (255 * waves(count or 2 * self.count, 3, SIDE, first=1000)).round().byte()
        images = (images.int() + shift).clamp(0, 255).byte()
        return Samples(
            images,
            training,
            lambda: features_of(images),
            lambda: features_of(training),
            bits_of_test_images=lambda: torch.linspace(90, 110, len(training), dtype=torch.float64),
        )

    def measured(self, samples: Samples) -> float:
        """Return the value of ``samples``."""
        batch = self.batch(1)
        metric = cast(SampleMetric, self.cls(self.context(batch, quantized=False)))
        return number(metric.measure(samples))


def of_samples(case: MetricCase) -> bool:
    """Return whether the metric gets all samples at once, on rank 0."""
    return bool(case.cls.of_samples)


def of_reconstructions(case: MetricCase) -> bool:
    """Return whether the metric gets batches of reconstructions."""
    return not of_samples(case)


def beats(value: float, ideal: float, better: str) -> bool:
    """Return whether a value is better than the ideal one, by more than tolerance."""
    return (value < ideal if better == "min" else value > ideal) and not is_ideal(value, ideal)


def is_ideal(value: float, ideal: float) -> bool:
    """Return whether a value is the ideal one, up to tolerance."""
    return value == ideal or math.isclose(value, ideal, rel_tol=IDEAL_TOLERANCE, abs_tol=IDEAL_TOLERANCE)


def number(value: Any) -> float:
    """Return the value of a metric; NaN for None."""
    return float("nan") if value is None else float(value)


def pieces(batch: Batch, sizes: Sequence[int]) -> list[Batch]:
    """Split a batch into parts of these sizes."""
    ends = torch.tensor(sizes).cumsum(0).tolist()
    return [chosen(batch, torch.arange(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def chosen(batch: Batch, places: Tensor) -> Batch:
    """Return the images at ``places`` (B,) of a batch, each with its own index."""
    codes = None if batch.codes is None else batch.codes[places]
    latents = None if batch.latents is None else batch.latents[places]
    return Batch(batch.originals[places], batch.reconstructions[places], codes, batch.index[places], latents)


def without_codes(batch: Batch) -> Batch:
    """Return the batch of a run that quantizes nothing."""
    return replace(batch, codes=None)


def waves(count: int, channels: int, side: int, first: int = 0) -> Tensor:
    """Draw images (count, channels, side, side) in [0, 1]: waves of three kinds.

    Each number from ``first`` on has an image of its own, the same in every process.
    """
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    images = []
    for number in range(first, first + count):
        draw = torch.Generator().manual_seed(number)
        rows, columns, phase, weight = torch.rand(4, channels, 3, generator=draw).unbind(0)  # (channels, 3) each
        angles = 20 * (rows[..., None, None] * y + columns[..., None, None] * x + phase[..., None, None])
        image = (weight[..., None, None] * angles.sin()).sum(1)  # (channels, side, side)
        images.append((image - image.amin()) / (image.amax() - image.amin()))
    return torch.stack(images)


def codes_of(images: Tensor) -> Tensor:
    """Return codes (B, 4, 4, depth) that follow from the images' patches."""
    means = F.adaptive_avg_pool2d(images.mean(1, keepdim=True), 4)[:, 0]  # (B, 4, 4)
    codes = ((CODES - 1) * means.clamp(0, 1)).round().long()
    return torch.stack([codes, (3 * codes) % CODES], -1)


def features_of(images: Tensor) -> Tensor:
    """Return features (N, 2048) of images (N, C, S, S) uint8: fixed projections."""
    pixels = images.flatten(1).float() / 255
    draw = torch.Generator().manual_seed(0)
    return torch.tanh(pixels @ torch.randn(pixels.shape[1], FEATURES, generator=draw) / 10)
