"""Evaluate metrics under many settings, in few passes over the images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from vqbench import registry
from vqbench.evaluation.explaining.protocol_differences import Number
from vqbench.evaluation.explaining.settings import OTHER, PARTNERS, Conditions, Inputs
from vqbench.images import as_measured
from vqbench.metric import Batch, Context, Metric
from vqbench.protocol import MeasureProtocol

STEP = 20  # images between two reports of progress: each is prepared in many ways
TOGETHER = 16  # conditions evaluated in one pass: each has sums of its own, 67 MB for rFID
SIDE = "originals"  # how the state of a metric of sets begins for what references take the place of


def distance_images(name: str, under: MeasureProtocol) -> int:
    """Count the pairs that Inception computes in the time of one distance."""
    if name != "rfid":
        return 0
    return 50 if isinstance(under.fid_resize, int) else 3  # by scipy or by factors; whatever the number of pairs


class ExplainedImages(Protocol):
    """Pairs of images that can be read again and again, and other images."""

    @property
    def facts(self) -> Inputs:
        """What decides which settings apply."""

    @property
    def available(self) -> int:
        """The number of pairs, of which ``facts.images`` are evaluated."""

    def batches(self, preparation: str) -> Iterable[tuple[Tensor, Tensor]]:
        """Yield originals and reconstructions, (B, C, H, W) in [-1, 1].

        The same pairs in the same order for every ``preparation`` of the originals, a value of the setting
        ``originals``.
        """

    def references(self, preparation: str) -> Iterable[Tensor]:
        """Yield the other images, (B, C, H, W) in [-1, 1], prepared likewise."""


@dataclass
class _Family:
    """Conditions that share metrics.

    They differ in the number of images and the reference alone.
    """

    measured: Conditions
    members: dict[Conditions, list[str]] = field(default_factory=dict)  # conditions -> metrics

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(name for names in self.members.values() for name in names))

    @property
    def compared(self) -> list[str]:
        """Metrics for which other images take the place of the originals."""
        names = (name for under, names in self.members.items() if under.reference == OTHER for name in names)
        return list(dict.fromkeys(names))

    def started(self, names: Sequence[str], device: torch.device) -> dict[str, Metric]:
        context = Context(self.measured, "", num_codes=None, bits=None, device=device, keep=False)
        return {name: registry.load("metrics", name)(context) for name in names}


@dataclass(frozen=True)
class Passes:
    """All that is evaluated, pass by pass."""

    families: Sequence[Sequence[_Family]]  # of each pass, with originals that are prepared alike

    @classmethod
    def of(cls, wanted: Mapping[Conditions, Sequence[str]]) -> Passes:
        families: dict[Conditions, _Family] = {}
        for under, names in wanted.items():
            measured = replace(under, name="", summary="", reference=PARTNERS, images=0)
            families.setdefault(measured, _Family(measured)).members[under] = list(names)
        parts = []
        for preparation in dict.fromkeys(each.originals for each in families):
            alike = [family for each, family in families.items() if each.originals == preparation]
            parts += [alike[start : start + TOGETHER] for start in range(0, len(alike), TOGETHER)]
        return cls(parts)

    def work(self, inputs: Inputs) -> int:
        """Count images, once for each time that one is given to metrics.

        What takes long after that counts as images, too.
        """
        references = inputs.references or 0
        families = [family for part in self.families for family in part]
        images = sum(inputs.images + references * bool(family.compared) for family in families)
        members = [member for family in families for member in family.members.items()]
        return images + sum(distance_images(name, under) for under, names in members for name in names)


@torch.no_grad()
def values_under(
    wanted: Mapping[Conditions, Sequence[str]],
    images: ExplainedImages,
    device: torch.device,
    on_progress: Callable[[int], None] = lambda done: None,
) -> dict[Conditions, dict[str, Number]]:
    """Measure pairs of images under all ``wanted`` conditions.

    Args:
        wanted: Conditions -> names of metrics without codes.
        images: What is measured.
        device: Where metrics compute.
        on_progress: Receives the images that metrics were given so far, see :meth:`Passes.work`; may raise Interrupted.

    Returns:
        Conditions -> metric -> value.
    """
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        on_progress(done)

    values: dict[Conditions, dict[str, Number]] = {}
    for families in Passes.of(wanted).families:
        values |= _Pass(families, images, device, advance).values()
    return {under: values[under] for under in wanted}


class _Pass:
    """One pass over the images, after one over the references if any."""

    def __init__(
        self,
        families: Sequence[_Family],
        images: ExplainedImages,
        device: torch.device,
        advance: Callable[[int], None],
    ) -> None:
        self.families, self.images, self.device, self.advance = families, images, device, advance
        self.preparation = families[0].measured.originals
        self.metrics = [family.started(family.names, device) for family in families]

    def values(self) -> dict[Conditions, dict[str, Number]]:
        references = self._references()
        values: dict[Conditions, dict[str, Number]] = {}
        total = self.images.facts.images
        counts = {under.images for family in self.families for under in family.members}
        ends = sorted(count for count in counts if 0 < count < total)
        done = 0
        for x, y in _parts(self.images.batches(self.preparation), ends):
            for places, (originals, others) in self._prepared(x, y, places=range(len(self.families))):
                batch = Batch(originals, others, codes=None, index=torch.arange(done, done + len(x)))
                self._update(self.metrics, places, batch)
            done += len(x)
            if done in ends:
                values |= self._read(references, {done})
        return values | self._read(references, counts.difference(ends))

    def _references(self) -> list[dict[str, Metric]]:
        """Return metrics that have seen the other images as originals, by family."""
        metrics: list[dict[str, Metric]] = [{} for _ in self.families]
        compared = [place for place, family in enumerate(self.families) if family.compared]
        if not compared:
            return metrics
        for place in compared:
            metrics[place] = self.families[place].started(self.families[place].compared, self.device)
        done = 0
        for (x,) in _parts(((images,) for images in self.images.references(self.preparation)), []):
            for places, (references,) in self._prepared(x, places=compared):
                batch = Batch(references, references[:0], codes=None, index=torch.arange(done, done + len(x)))
                self._update(metrics, places, batch)
            done += len(x)
        return metrics

    def _prepared(self, *sides: Tensor, places: Sequence[int]) -> Iterator[tuple[list[int], list[Tensor]]]:
        """Yield families whose metrics get the same images, with these images."""
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place in places:
            measured = self.families[place].measured
            groups.setdefault((measured.pixels, measured.jpeg, measured.colour), []).append(place)
        for alike in groups.values():
            measured = self.families[alike[0]].measured
            yield alike, [as_measured(side.to(self.device), measured) for side in sides]

    def _update(self, metrics: Sequence[Mapping[str, Metric]], places: Sequence[int], batch: Batch) -> None:
        for place in places:
            for metric in metrics[place].values():
                metric.update(batch)
            self.advance(len(batch.index))

    def _read(
        self, references: Sequence[Mapping[str, Metric]], counts: set[int]
    ) -> dict[Conditions, dict[str, Number]]:
        """Compute the values under conditions that have one of these numbers of images."""
        return {
            under: {name: self._value(name, of_family[name], others.get(name), under) for name in names}
            for family, of_family, others in zip(self.families, self.metrics, references, strict=True)
            for under, names in family.members.items()
            if under.images in counts
        }

    def _value(self, name: str, metric: Metric, other: Metric | None, under: Conditions) -> Number:
        """Compute a metric, with the originals of ``other`` if it is compared with those."""
        own = metric.state
        if under.reference == OTHER:
            assert other is not None
            metric.state = own | {key: state for key, state in other.state.items() if key.startswith(SIDE)}
        value = metric.compute()
        metric.state = own
        if images := distance_images(name, under):
            self.advance(images)
        return value


def _parts(batches: Iterable[tuple[Tensor, ...]], ends: Sequence[int]) -> Iterator[tuple[Tensor, ...]]:
    """Split batches to few images, none across one of the ``ends``."""
    done = 0
    for sides in batches:
        start, count = 0, len(sides[0])
        while start < count:
            stop = min(start + STEP, count, *(end - done for end in ends if end - done > start))
            yield tuple(side[start:stop] for side in sides)
            start = stop
        done += count
