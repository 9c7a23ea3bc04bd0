"""Measure reconstructions by all metrics and protocols in one pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vqbench import protocol, registry
from vqbench.backbone import Autoencoder
from vqbench.dataset import Dataset
from vqbench.distributed.group import ALONE, RankGroup
from vqbench.errors import RunError, UsageError
from vqbench.functional import float32_products
from vqbench.images import as_measured, batches, distinct, rounded, to_unit
from vqbench.metric import Batch, Context, Latents, Metric
from vqbench.protocol import MeasureProtocol
from vqbench.spec import Seeds
from vqbench.store.record import Value
from vqbench.store.value_name import ValueName

if TYPE_CHECKING:
    from vqbench.quantizer import QuantizerOutput

BATCH = 100  # images per batch, of the model and of the metrics
FEATURES = 2048  # likewise, of a data set of features
TIMED = range(1, 11)  # full batches, by number, that are timed: the first warms up
FEWEST = 3  # timed batches without which no speed is known

Prepare = Callable[[Tensor, int, MeasureProtocol], Tensor]  # originals in [-1, 1], position of the first, protocol

Timed = TypeVar("Timed")


@dataclass
class Measurement:
    """Values of one run, values per image, and how fast the model is."""

    values: dict[str, dict[str, Value]]  # protocol -> metric -> value
    images: dict[str, np.ndarray]  # "protocol/metric" -> (N,), where the metric has a value per image
    speeds: dict[str, float] = field(default_factory=dict)  # encode_speed, decode_speed: images per second


class CodingClock:
    """Times encoding and decoding while it is ``running``, on one device."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.running = device, False
        self.seconds: dict[str, list[float]] = {}

    def timed(self, name: str, compute: Callable[..., Timed], *args: Any) -> Timed:
        """Return ``compute(*args)``; the seconds that it takes count under ``name``."""
        if not self.running:
            return compute(*args)
        started = self._now()
        result = compute(*args)
        self.seconds.setdefault(name, []).append(self._now() - started)
        return result

    def speeds(self) -> dict[str, float]:
        """Return images per second, by the median of batches of ``BATCH`` images.

        Nothing after fewer than ``FEWEST`` of them.
        """
        enough = {name: each for name, each in self.seconds.items() if len(each) >= FEWEST}
        return {name: float(f"{BATCH / median(each):.4g}") for name, each in enough.items()}

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


class MetricPass:
    """Updates metrics batch by batch, each image once.

    Runs, ``vqbench explain`` and ``vqbench.evaluate`` all go through it, so that a value of theirs means the same.

    Args:
        metrics: Name of the values, such as ``official@1000`` -> name -> metric, started. Images beyond the number in
            the name are left out.
        protocols: The protocol of each of these names.
        prepare: Prepares the originals of a batch; by default :func:`vqbench.images.as_measured`.
        of_features: Originals are features, which no protocol prepares; metrics get both sides as they are.
    """

    def __init__(
        self,
        metrics: Mapping[str, Mapping[str, Metric]],
        protocols: Mapping[str, MeasureProtocol],
        prepare: Prepare = lambda x, start, measured: as_measured(x, measured),
        of_features: bool = False,
    ) -> None:
        self.metrics, self.protocols, self._prepare, self.of_features = metrics, protocols, prepare, of_features
        self._limits = {name: ValueName.parse(name).images for name in metrics}
        self.counts = dict.fromkeys(metrics, 0)  # name -> images so far
        self.per_image: dict[str, list[np.ndarray]] = {}  # "name/metric" -> values of each batch, (n,)

    def add(
        self, start: int, x: Tensor, reconstructions: Tensor, codes: Tensor | None, latents: Latents | None = None
    ) -> None:
        """Update all metrics with a batch.

        Args:
            start: Position of its first image among all images.
            x: Originals (B, C, H, W) in [-1, 1].
            reconstructions: (B, C, H, W) in [-1, 1], not clamped.
            codes: (B, h, w, depth) int64; None where nothing is quantized.
            latents: From which the reconstructions were decoded, if a model of vqbench did it.
        """
        for name, collectors in self.metrics.items():
            limit = self._limits[name]
            here = slice(len(x) if limit is None else max(0, min(len(x), limit - start)))  # empty beyond the limit
            if here.stop == 0:
                continue
            originals, reconstructed = self._both(x, reconstructions, start, here, self.protocols[name])
            batch = Batch(
                originals=originals,
                reconstructions=reconstructed,
                codes=None if codes is None else codes[here],
                index=torch.arange(start, start + here.stop),
                latents=None if latents is None else latents[here],
            )
            self.counts[name] += here.stop
            for metric, collector in collectors.items():
                each = collector.update(batch)
                if each is not None:
                    self.per_image.setdefault(f"{name}/{metric}", []).append(each.numpy())

    def _both(
        self, x: Tensor, reconstructions: Tensor, start: int, here: slice, measured: MeasureProtocol
    ) -> tuple[Tensor, Tensor]:
        """Return originals and reconstructions as ``measured`` prepares them."""
        if self.of_features:
            return x[here], reconstructions[here]
        return self._prepare(x, start, measured)[here], as_measured(reconstructions[here].float(), measured)

    def measurement(
        self, counts: Mapping[str, int], per_image: Sequence[Mapping[str, list[np.ndarray]]]
    ) -> Measurement:
        """Compute all values.

        Args:
            counts: Name -> images that were counted, on all ranks together.
            per_image: :attr:`per_image` of each rank.

        Raises:
            RunError: Too few images for a metric.
        """
        values = {
            name: {
                metric: Value(
                    collector.compute(),
                    registry.version("metrics", metric),
                    self.protocols[name].VERSION,
                    counts[name],
                )
                for metric, collector in collectors.items()
            }
            for name, collectors in self.metrics.items()
        }
        names = dict.fromkeys(name for each in per_image for name in each)
        joined = {name: np.concatenate([part for each in per_image for part in each.get(name, ())]) for name in names}
        return Measurement(values, joined)


class Evaluator:
    """Measures runs on one test split, one after the other.

    What depends on the originals alone is computed once.

    Args:
        dataset: Its test split is measured on.
        device: Where models and images are.
        keep: False where only one run is measured, so that metrics need not cache for the next one.
        group: The ranks that share the images, without padding: each takes whole batches, every image is seen once.
    """

    def __init__(self, dataset: Dataset, device: torch.device, keep: bool = True, group: RankGroup = ALONE) -> None:
        self.dataset, self.device, self.keep, self.group = dataset, device, keep, group
        self.pixels = dataset.pixels("test")  # (N, C, S, S) uint8, or float32 of features
        self.of_features = isinstance(self.pixels, Tensor) and self.pixels.is_floating_point()
        self.digest = dataset.digest("test")
        self._metrics: dict[tuple[MeasureProtocol, str], Metric] = {}
        self._originals: dict[tuple[MeasureProtocol, int], Tensor] = {}

    @torch.no_grad()
    def measure(
        self,
        model: Autoencoder,
        wanted: Mapping[str, Sequence[str]],
        progress: Callable[[int, int], None] = lambda done, total: None,
        variants: Sequence[MeasureProtocol] = (),
        see: Callable[[Tensor], None] = lambda codes: None,
        seeds: Seeds | None = None,
    ) -> Measurement:
        """Measure ``model``, in evaluation mode, by the ``wanted`` metrics.

        Every image of the split, or of its beginning where a protocol's name limits it, is counted once.

        Args:
            model: An autoencoder on the evaluator's device.
            wanted: Protocol -> names of metrics.
            progress: Called with (images done, images in all) of this rank; may raise Interrupted.
            variants: Protocols beyond the stored ones that ``wanted`` may name.
            see: Called with the codes (B, H, W, depth) of every batch of this rank.
            seeds: Those of the run, for metrics that draw random numbers.

        Returns:
            The values, and the speed of rank 0 alone, on rank 0; nothing on the others.

        Raises:
            UsageError: An unknown name, or a variant with the name of another protocol.
            RunError: The images cannot be measured, or some were not.
        """
        protocols = {name: _protocol(name, variants) for name in wanted}
        model.eval()
        metrics = self.group.on_all_ranks(lambda: self._prepared(model, wanted, protocols, seeds))
        passed = MetricPass(metrics, protocols, self._measured_originals, self.of_features)
        clock = CodingClock(self.device)
        self.group.on_all_ranks(lambda: self._pass(model, passed, clock, progress, see))
        for collectors in metrics.values():
            for collector in collectors.values():
                self.group.all_reduce(collector.state.values())
        self._check_counts(self.group.gather(passed.counts))
        per_image = self.group.gather(passed.per_image)
        if not self.group.is_first:
            return Measurement({}, {})
        measured = passed.measurement({name: self._count(name) for name in metrics}, per_image)
        return replace(measured, speeds=clock.speeds())

    def _prepared(
        self,
        model: Autoencoder,
        wanted: Mapping[str, Sequence[str]],
        protocols: Mapping[str, MeasureProtocol],
        seeds: Seeds | None,
    ) -> dict[str, dict[str, Metric]]:
        """Start the wanted metrics for ``model``: protocol -> name -> metric."""
        quantized = model.quantizer.depth > 0
        contexts = {
            name: Context(
                protocol=measured,
                dataset=self.digest,
                num_codes=model.quantizer.num_codes if quantized else None,
                bits=model.quantizer.bits if quantized else None,
                device=self.device,
                depth=model.quantizer.depth,
                keep=self.keep,
                codes_per_image=model.quantizer.codes_per_image if quantized else None,
            )
            for name, measured in protocols.items()
        }
        names = {each for name in contexts for each in wanted[name]}
        of_model = {each for each in names if registry.load("metrics", each).needs_model}
        known = self._facts(model) if of_model else {}
        known |= {} if seeds is None else {"seeds": seeds}
        return {
            name: {
                each: self._metric(each, replace(context, **known) if each in of_model else context)
                for each in wanted[name]
            }
            for name, context in contexts.items()
        }

    def _facts(self, model: Autoencoder) -> dict[str, Any]:
        """Return what a context has only for metrics that need the model."""
        first = next(iter(batches(self.pixels, torch.arange(1), 1)))  # (1, C, S, S)
        features = model.backbone.encode(to_unit(first.to(self.device)))  # (1, dim, h, w)
        return {"model": model, "image_shape": tuple(first.shape[1:]), "latent_shape": tuple(features.shape[1:])}

    def _pass(
        self,
        model: Autoencoder,
        passed: MetricPass,
        clock: CodingClock,
        progress: Callable[[int, int], None],
        see: Callable[[Tensor], None],
    ) -> None:
        """Reconstruct this rank's images, and add them to ``passed``."""
        total = max(self._count(name) for name in passed.metrics)
        size = FEATURES if self.of_features else BATCH
        starts = self.group.own_items(range(0, total, size))
        positions = torch.arange(starts[0], min(starts[-1] + size, total)) if starts else torch.arange(0)
        ahead = batches(self.pixels, positions, size)  # decoded ahead
        for number, (start, pixels) in enumerate(zip(starts, ahead, strict=True)):
            x = to_unit(pixels.to(self.device))
            clock.running = number in TIMED and len(x) == BATCH and not self.of_features
            z, out = clock.timed("encode_speed", _encoded, model, x)
            see(out.codes)
            codes = out.codes if model.quantizer.depth > 0 else None
            looked_up = codes if clock.running else None
            reconstructions = clock.timed("decode_speed", _decoded, model, out.z_q, looked_up)
            passed.add(start, x, reconstructions, codes, Latents(z, out.z_q))
            progress(min(start + size, total) - starts[0], min(starts[-1] + size, total) - starts[0])

    def _check_counts(self, counts: Sequence[Mapping[str, int]]) -> None:
        """Raise RunError unless the ranks together measured every image once."""
        for name in counts[0]:
            if (seen := sum(each[name] for each in counts)) != self._count(name):
                raise RunError(f"{seen} images were measured under {name} instead of {self._count(name)}")

    def _count(self, name: str) -> int:
        """Return how many images are measured under the protocol ``name``."""
        return min(ValueName.parse(name).images or len(self.pixels), len(self.pixels))

    def _metric(self, name: str, context: Context) -> Metric:
        """Return a metric under a protocol, constructed once, started for a run."""
        key = context.protocol, name
        if key not in self._metrics:
            self._metrics[key] = registry.load("metrics", name)(context)
        self._metrics[key].start(context)
        return self._metrics[key]

    def _measured_originals(self, x: Tensor, start: int, measured: MeasureProtocol) -> Tensor:
        """Prepare the originals as ``measured`` does.

        Those in 8 bits are kept for the next run in this process, but not on disk: JPEG copies of 10,000 images take a
        second.
        """
        key = measured, start
        if key in self._originals:
            return (self._originals[key].float() / 255).expand(-1, 3, -1, -1)
        originals = as_measured(x, measured)
        if self.keep and measured.pixels != "float" and isinstance(self.pixels, Tensor):  # else too much for memory
            self._originals[key] = rounded(distinct(originals))
        return originals


def _encoded(model: Autoencoder, x: Tensor) -> tuple[Tensor, QuantizerOutput]:
    """Return the features (B, dim, h, w) of images, and their quantization."""
    z = model.backbone.encode(x)
    return z, model.quantize_features(z)


def _decoded(model: Autoencoder, z_q: Tensor, looked_up: Tensor | None) -> Tensor:
    """Decode images from ``z_q``, which is at hand.

    The codes ``looked_up`` (B, h, w, depth) are looked up for the time that it takes.
    """
    if looked_up is not None:
        with float32_products():  # as the quantizer's forward pass
            model.quantizer.decode(looked_up)
    return model.backbone.decode(z_q)


def _protocol(name: str, variants: Sequence[MeasureProtocol]) -> MeasureProtocol:
    """Return the protocol of values of this name: a variant or a stored one."""
    known = {variant.name: variant for variant in variants}
    taken = [variant for variant in variants if variant.name in protocol.MEASURE or known[variant.name] != variant]
    if taken:
        raise UsageError(f"a variant of a measuring protocol needs a name of its own; {taken[0].name!r} is taken")
    return known.get(measured := ValueName.parse(name).protocol) or protocol.measuring(measured)
