"""Measure a set of images against reference images, which are no partners."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench import protocol, registry
from vqbench.errors import RunError, UsageError, counted
from vqbench.evaluation.reconstructions import Measurement
from vqbench.images import as_measured, read_ahead, workers
from vqbench.measuring.image_digests import image_digest, set_digest
from vqbench.measuring.inputs.image_input import DamagedImage, ImageInput, all_damaged
from vqbench.measuring.inputs.value_range import ValueRange, as_unit
from vqbench.measuring.kept_measurement import KeptMeasurement, key_of
from vqbench.measuring.pair_stream import PART, THREADS, most_together
from vqbench.measuring.value_rows import value_rows
from vqbench.metric import Context, Samples
from vqbench.networks import inception
from vqbench.networks.feature_cache import FeatureCache
from vqbench.registry import metric_groups
from vqbench.store.record import Value

SAVED = 2_000  # images after which features are first saved, then after twice as many, and so on
SIDES = ("images", "reference")


@dataclass(frozen=True)
class SetInput:
    """Images in an order, with the range of floats."""

    images: ImageInput
    range: ValueRange | None = None
    sound: Sequence[int] | None = None  # positions of images that can be decoded; None: of all
    damaged: Mapping[str, str] = field(default_factory=dict)  # name -> reason, of the others
    digest: str = ""  # of the sound ones, see set_digest; empty before they were examined

    def __len__(self) -> int:
        return len(self.images if self.sound is None else self.sound)

    def examined(self, progress: Callable[[], None]) -> SetInput:
        """Decode all images once, find the damaged ones, and digest the others.

        ``progress`` is called now and then; it may raise Interrupted.
        """
        sound: list[int] = []
        damaged: dict[str, str] = {}
        digests: list[bytes] = []
        starts = range(0, len(self.images), PART)
        for start, part in zip(starts, read_ahead(starts, self._digests, min(workers(), THREADS)), strict=True):
            for position, each in enumerate(part, start):
                if isinstance(each, DamagedImage):
                    damaged[each.name] = each.reason
                else:
                    sound.append(position)
                    digests.append(each)
            progress()
        if not sound:
            raise all_damaged([DamagedImage(*each) for each in damaged.items()])
        return replace(self, sound=sound, damaged=damaged, digest=set_digest(digests))

    def _digests(self, start: int) -> list[bytes | DamagedImage]:
        images = self.images.read(range(start, min(start + PART, len(self.images))))
        return [each if isinstance(each, DamagedImage) else image_digest(each, self.range) for each in images]

    def batches(self, places: Sequence[int]) -> Iterator[Tensor]:
        """Yield the images at ``places`` among the sound ones, (B, C, H, W) in [-1, 1].

        Each batch has one size. Raises DamagedImage.
        """
        positions = places if self.sound is None else [self.sound[place] for place in places]
        starts = range(0, len(positions), PART)
        waiting: list[np.ndarray] = []
        read = partial(self._part, positions)
        for part in read_ahead(starts, read, min(workers(), THREADS)):
            for levels in part:
                if waiting and (levels.shape != waiting[0].shape or len(waiting) == most_together(levels.shape)):
                    yield as_unit(np.stack(waiting), self.range)
                    waiting = []
                waiting.append(levels)
        if waiting:
            yield as_unit(np.stack(waiting), self.range)

    def _part(self, positions: Sequence[int], start: int) -> list[np.ndarray]:
        images = self.images.read(positions[start : start + PART])
        for image in images:
            if isinstance(image, DamagedImage):
                raise image
        return [image.levels for image in images if not isinstance(image, DamagedImage)]


@dataclass(frozen=True)
class SetSettings:
    """What a set of images is measured by."""

    protocols: Sequence[str]
    metrics: Sequence[str]  # of samples
    device: torch.device

    def __post_init__(self) -> None:
        """Raise UsageError for unknown names, and metrics that need more than two sets."""
        for name in self.protocols:
            protocol.measuring(name)
        for name in self.metrics:
            metric: Any = registry.load("metrics", name)
            if not metric.of_samples:
                raise UsageError(f"metric {name!r} compares pairs; give ORIGINALS and RECONSTRUCTIONS, or leave it out")
            if metric.needs_training:
                raise UsageError(f"metric {name!r} needs the images that a generator was trained on; leave it out")
            if metric.of_likelihood:
                raise UsageError(f"metric {name!r} needs a generator, not its images alone; leave it out")

    def classes(self) -> list[Any]:
        """The classes of the metrics, of samples all."""
        return [registry.load("metrics", name) for name in self.metrics]

    def assets(self) -> list[str]:
        """List the weights that the metrics need under the protocols."""
        names = (a for m in self.classes() for p in self.protocols for a in m.assets(protocol.measuring(p)))
        return list(dict.fromkeys(names))

    def require_images(self, *counts: int) -> None:
        """Raise RunError for fewer images than a metric needs."""
        for metric in self.classes():
            if min(counts) < metric.fewest:
                needed = counted(metric.fewest, "image")
                raise RunError(f"{metric.label} needs at least {needed} on both sides, and was given {min(counts)}")


def default_set_metrics(group: str = "all") -> list[str]:
    """List metrics of samples that need no more than two sets of images.

    They are those of ``group``.
    """
    names = metric_groups.members(group, [protocol.MEASURE["clean"]])
    classes: dict[str, Any] = {name: registry.load("metrics", name) for name in names}
    of_samples = {name: metric for name, metric in classes.items() if metric.of_samples}
    return [name for name, metric in of_samples.items() if not (metric.needs_training or metric.of_likelihood)]


@torch.no_grad()
def measure_set(
    images: SetInput,
    reference: SetInput,
    settings: SetSettings,
    kept: KeptMeasurement | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict[str, Any]]:
    """Return the values of ``images`` against ``reference``, see :func:`value_rows`.

    Features are kept where ``kept`` is, so that an interrupted call is resumed.

    Raises:
        DamagedImage: An image cannot be decoded.
        RunError: Too few images.
    """
    total = len(settings.protocols) * (len(images) + len(reference))
    done = 0
    values: dict[str, dict[str, Value]] = {}
    for name in settings.protocols:
        measured = protocol.measuring(name)
        features = []
        for side, part in zip(SIDES, (images, reference), strict=True):
            cache = FeatureCache(None if kept is None else kept.folder / f"features-{side}-{name}.npy")
            compute = partial(_features, part, name, settings.device, cache, partial(_advanced, progress, done, total))
            try:
                features.append(cache.get(range(len(part)), compute))
            finally:
                cache.save()
            done += len(part)
        nothing = torch.empty(0, 3, 1, 1, dtype=torch.uint8)
        ours, others = (partial(torch.Tensor.detach, each) for each in features)
        samples = Samples(nothing, nothing, ours, others)
        context = Context(measured, "", None, None, settings.device, keep=False)
        values[name] = {
            metric: Value(
                cls(context).measure(samples), registry.version("metrics", metric), measured.VERSION, len(images)
            )
            for metric, cls in zip(settings.metrics, settings.classes(), strict=True)
        }
    return _against(value_rows(Measurement(values, {})), len(reference))


def key_of_set(images: SetInput, reference: SetInput, settings: SetSettings) -> str:
    """Return a name for this measurement, which changes with any file and version."""
    protocols = [[name, protocol.measuring(name).VERSION] for name in settings.protocols]
    metrics = [[name, registry.version("metrics", name)] for name in settings.metrics]
    sides = [[side.images.stamp(), None if side.range is None else side.range.value] for side in (images, reference)]
    return key_of([sides, protocols, metrics, settings.device.type, torch.__version__, inception.VERSION])


def _features(
    part: SetInput,
    name: str,
    device: torch.device,
    cache: FeatureCache,
    progress: Callable[[int, int], None],
    places: list[int],
) -> Iterator[Tensor]:
    """Yield the features of the images at ``places``, and save them now and then."""
    measured = protocol.measuring(name)
    net = inception.network(device)
    before, done, due = len(part) - len(places), 0, SAVED
    for x in part.batches(places):
        yield from inception.features(net, as_measured(x.to(device), measured), measured.fid_resize)
        done += len(x)
        if done >= due:  # ever more rarely, since each time the whole file is written
            cache.save()
            due *= 2
        progress(before + done, len(part))


def _advanced(progress: Callable[[int, int], None], before: int, total: int, done: int, _: int) -> None:
    progress(before + done, total)


def _against(rows: list[dict[str, Any]], references: int) -> list[dict[str, Any]]:
    """Note which values are not ranked, since there are few references."""

    def noted(row: dict[str, Any]) -> dict[str, Any]:
        few = registry.load("metrics", row["metric"]).few
        if row["note"] or references >= few:
            return row
        note = f"{row['label']} is not ranked: it needs at least {few:,} references, here {references:,}."
        return {**row, "note": note}

    return [noted(row) for row in rows]
