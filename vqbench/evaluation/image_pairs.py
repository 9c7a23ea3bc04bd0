"""Evaluate pairs of images, whatever model made them, by the metrics of runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqbench import protocol, registry
from vqbench.errors import RunError, UsageError, counted
from vqbench.evaluation.image_arrays import code_tensor, image_tensor, require_codes, to_model
from vqbench.evaluation.reconstructions import BATCH, Measurement, MetricPass
from vqbench.metric import Context, Metric
from vqbench.registry import metric_groups

CPU = torch.device("cpu")
ORIGINALS, RECONSTRUCTIONS = "originals", "reconstructions"  # as messages call them


class ImagePairs(NamedTuple):
    """Some originals with their reconstructions, in the same order."""

    originals: Tensor  # (B, C, H, W) uint8, or floats in [0, 1]
    reconstructions: Tensor  # likewise
    codes: Tensor | None = None  # (B, h, w, depth) int64


@dataclass(frozen=True)
class PairSettings:
    """What pairs of images are evaluated by."""

    protocols: Sequence[str]
    metrics: Sequence[str]  # of reconstructions
    num_codes: int | None = None  # size of the codebook; None without codes
    depth: int = 1  # codes per position
    device: torch.device = CPU
    bits: float | None = None  # per position; None: those of codes of equal length

    def __post_init__(self) -> None:
        """Raise UsageError for unknown names, and metrics that pairs do not have."""
        if not self.metrics or not self.protocols:
            raise UsageError("nothing to evaluate: name at least one metric and one protocol")
        for name in self.protocols:
            protocol.measuring(name)
        for name in self.metrics:
            metric = registry.load("metrics", name)
            if metric.of_samples:
                raise UsageError(f"metric {name!r} is of generated images, and these are reconstructions; leave it out")
            if metric.needs_model:
                raise UsageError(
                    f"metric {name!r} is of a model that vqbench trained, not of images alone; name it under the "
                    "metrics of a suite"
                )
            if metric.needs_codes and self.num_codes is None:
                raise UsageError(
                    f"metric {name!r} counts codes: give codes and the size of their codebook, or leave it out"
                )

    def assets(self) -> list[str]:
        """List the weights that the metrics need under the protocols."""
        names = (a for m in self._classes() for p in self.protocols for a in m.assets(protocol.measuring(p)))
        return list(dict.fromkeys(names))

    def require_images(self, count: int) -> None:
        """Raise RunError if ``count`` images are too few for a metric to exist."""
        for metric in self._classes():
            if count < metric.fewest:
                raise RunError(
                    f"{metric.label} needs at least {counted(metric.fewest, 'image')}, and was given {count}"
                )

    def require_size(self, height: int, width: int) -> None:
        """Raise RunError if images of this size are too small for a metric."""
        for metric in self._classes():
            smallest = max(metric.smallest(protocol.measuring(name)) for name in self.protocols)
            if min(height, width) < smallest:
                raise RunError(
                    f"{metric.label} needs images of at least {smallest}x{smallest} pixels, these are "
                    f"{height}x{width}; leave it out"
                )

    def _classes(self) -> list[type[Metric]]:
        return [registry.load("metrics", name) for name in self.metrics]


def chosen_metrics(given: Sequence[str] | None, with_codes: bool, side: int | None = None) -> list[str]:
    """List the metrics of ``given`` names, a group by its metrics of pairs.

    None: those of :func:`default_metrics`. Raises UsageError for a mix of groups.
    """
    if given is None:
        return default_metrics(with_codes, side=side)
    return metric_groups.expanded(given, lambda group: default_metrics(with_codes, side, group))


def default_metrics(with_codes: bool, side: int | None = None, group: str = "fast") -> list[str]:
    """List the metrics of pairs: of pixels, then of codes if any.

    They are those of ``group``, by default the ones without a network, and none that does not exist for images of
    ``side`` pixels, the smaller of height and width.
    """
    clean = protocol.MEASURE["clean"]
    classes = {name: registry.load("metrics", name) for name in metric_groups.members(group, [clean])}
    own = [name for name, metric in classes.items() if not (metric.of_samples or metric.needs_model)]
    own = [name for name in own if side is None or classes[name].smallest(clean) <= side]
    of_codes = [name for name in own if classes[name].needs_codes]
    return [name for name in own if name not in of_codes] + (of_codes if with_codes else [])


@torch.no_grad()
def evaluate_pairs(
    pairs: Iterable[ImagePairs], settings: PairSettings, progress: Callable[[int], None] = lambda done: None
) -> Measurement:
    """Evaluate a stream of pairs in one pass, in memory of one batch.

    The conversion of pixels, the protocols and the metrics are those of runs; see :class:`MetricPass`. Features of the
    originals are not cached on disk.

    Args:
        pairs: Batches of any size; all of one shape of images.
        settings: What they are evaluated by.
        progress: Called with the images done so far; may raise Interrupted.

    Raises:
        UsageError: Images of different shapes or numbers, of a wrong type or range; codes that do not fit.
        RunError: Images that are too few or too small for a metric.
    """
    passed = started_pass(settings)
    shape: tuple[int, ...] | None = None
    done = 0
    for pair in pairs:
        if shape is None:
            shape = tuple(pair.originals.shape[1:])
            settings.require_size(shape[1], shape[2])
        _require_alike(pair, shape, done)
        _require_codes(pair.codes, settings)
        for batch in _split(pair):
            x, reconstructions = (
                to_model(images.to(settings.device), what if done == 0 else f"{what} from image {done:,} on")
                for what, images in ((ORIGINALS, batch.originals), (RECONSTRUCTIONS, batch.reconstructions))
            )
            passed.add(done, x, reconstructions, None if batch.codes is None else batch.codes.to(settings.device))
            done += len(x)
            progress(done)
    if not done:
        raise UsageError("there is no image to evaluate; give at least one")
    settings.require_images(done)
    return passed.measurement(passed.counts, [passed.per_image])


def pairs_of(originals: Any, reconstructions: Any, codes: Any = None) -> ImagePairs:
    """Check arrays and return them as one batch.

    Raises UsageError unless originals, reconstructions and codes are equally many.
    """
    pair = ImagePairs(
        image_tensor(originals, ORIGINALS),
        image_tensor(reconstructions, RECONSTRUCTIONS),
        None if codes is None else code_tensor(codes),
    )
    _require_alike(pair, tuple(pair.originals.shape[1:]), 0)
    return pair


def started_pass(settings: PairSettings) -> MetricPass:
    """Return a pass over pairs of images by all metrics and protocols."""
    bits = None if settings.num_codes is None else settings.bits or settings.depth * log2(settings.num_codes)

    def context(name: str) -> Context:
        return Context(
            protocol=protocol.measuring(name),
            dataset="",
            num_codes=settings.num_codes,
            bits=bits,
            device=settings.device,
            depth=settings.depth,
            keep=False,
        )

    contexts = {name: context(name) for name in settings.protocols}
    metrics: Mapping[str, Mapping[str, Metric]] = {
        name: {metric: registry.load("metrics", metric)(each) for metric in settings.metrics}
        for name, each in contexts.items()
    }
    return MetricPass(metrics, {name: each.protocol for name, each in contexts.items()})


def _require_alike(pair: ImagePairs, shape: tuple[int, ...], start: int) -> None:
    """Raise UsageError unless the parts of ``pair`` fit together."""
    originals, reconstructions, codes = pair
    first = f" from image {start:,} on" if start else ""
    for name, other in ((RECONSTRUCTIONS, reconstructions), ("codes", codes)):
        if other is not None and len(other) != len(originals):
            counts = f"{len(originals):,} {ORIGINALS}, but {len(other):,} {name}{first}"
            raise UsageError(f"{counts}: give one for each image, in the same order")
    for name, images in ((ORIGINALS, originals), (RECONSTRUCTIONS, reconstructions)):
        if tuple(images.shape[1:]) != shape:
            sizes = f"{name}{first} are {_size(images.shape[1:])}, the {ORIGINALS} {_size(shape)}"
            raise UsageError(f"{sizes}: give images of one shape, as the model was given them; none is resized here")


def _require_codes(codes: Tensor | None, settings: PairSettings) -> None:
    """Raise UsageError unless ``codes`` are of the codebook that was stated."""
    if (codes is None) != (settings.num_codes is None):
        raise UsageError("some images have codes and some have none: give codes for all images, or for none")
    if codes is None or settings.num_codes is None:
        return
    if codes.shape[-1] != settings.depth:
        raise UsageError(f"codes have a depth of {codes.shape[-1]}, and those before {settings.depth}: give one depth")
    require_codes(codes, settings.num_codes)


def _size(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{height}x{width} with {counted(channels, 'channel')}"


def _split(pair: ImagePairs) -> Iterator[ImagePairs]:
    for start in range(0, len(pair.originals), BATCH):
        yield ImagePairs(*(None if each is None else each[start : start + BATCH] for each in pair))  # type: ignore[arg-type]  # only codes can be None
