"""The contract of a metric: state that adds up, so that devices need one sum, and values per image."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, TypeVar

import torch
from torch import Tensor

from vqbench.dataset import Images
from vqbench.loading import batches
from vqbench.protocol import MeasureProtocol

Result = TypeVar("Result")

TOGETHER = 100  # points, or images, that are compared at once with all others


@dataclass
class Batch:
    """What every metric is fed: some images of the test split, as one measuring protocol sees them."""

    originals: Tensor  # (B, C, H, W) float32 in [0, 1]; under a protocol with 8-bit pixels, multiples of 1/255
    reconstructions: Tensor  # (B, C, H, W), likewise
    codes: Tensor | None  # (B, h, w, depth) int64; None where nothing is quantized
    index: Tensor  # (B,) int64, on the CPU: positions in the test split; names the images for caches


@dataclass(frozen=True)
class Context:
    """What a metric may know beforehand about the run and the images that it will be fed."""

    protocol: MeasureProtocol
    dataset: str  # content digest of the test split, for caches of what depends on the originals alone
    num_codes: int | None  # None where nothing is quantized
    bits: float | None  # bits a position
    device: torch.device
    depth: int = 1  # codes a position
    keep: bool = True  # whether other runs on the same images may follow, so that keeping what they share is worth it


class Metric:
    """One number about one run, under one measuring protocol.

    ``state`` maps names to tensors on the CPU that add up: over batches, and over ranks by one sum. So ``reset`` gives
    them the same names and shapes on every rank, also one that gets no image. ``update`` adds a batch to them and
    returns the value of each image, where the metric has one. ``compute`` turns the state of all images into the
    number, or ``None`` where the metric says nothing about such a run (usage without a codebook); with several ranks
    only the first is asked for it.

    A metric object may serve several runs on the same images one after the other (``start`` before each), so
    that what depends on the originals alone is computed once.
    """

    label: ClassVar[str]  # as in a table's head
    unit: ClassVar[str] = ""
    better: ClassVar[Literal["min", "max"]]
    digits: ClassVar[int]  # decimals that a table shows
    VERSION: ClassVar[int] = 1  # raised by hand when a change of the code changes the value
    reference: ClassVar[str] = ""  # paper or library that defines it
    few: ClassVar[int] = 0  # from fewer images (of samples: or references) its values rank nothing; a table says so
    by_codebook: ClassVar[bool] = False  # its values are comparable between codebooks of one size alone
    fewest: ClassVar[int] = 1  # images (of samples: and references) from which there is a value at all
    needs_codes: ClassVar[bool] = False  # says nothing about a run without a codebook
    of_samples: ClassVar[bool] = False  # about images that a second stage makes, see SampleMetric
    knobs: ClassVar[tuple[str, ...]] = ("pixels", "jpeg")  # settings of a MeasureProtocol that can move its value

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        """Names in the catalogue of vqbench.assets that the metric needs under ``protocol``."""
        return ()

    @classmethod
    def smallest(cls, protocol: MeasureProtocol) -> int:
        """The side in pixels from which images can be measured under ``protocol``."""
        return 1

    def __init__(self, context: Context) -> None:
        self.context = context
        self.state: dict[str, Tensor] = {}
        self.reset()

    def start(self, context: Context) -> None:
        """Begin with the next run on the same images."""
        self.context = context
        self.reset()

    def reset(self) -> None:
        """Set ``state`` to its zeros."""
        raise NotImplementedError

    def update(self, batch: Batch) -> Tensor | None:
        """Add ``batch``; returns the values per image (B,) float64 on the CPU, or None."""
        raise NotImplementedError

    def compute(self) -> float | None:
        """The value over all images seen since ``reset``."""
        raise NotImplementedError


@dataclass
class Samples:
    """Generated images and what they are held against, as one measuring protocol sees them."""

    images: Tensor  # (N, C, S, S) uint8: the samples as they were made
    training: Tensor | Images  # (T, C, S, S) uint8: the images that the generator learned from
    features_of_samples: Callable[[], Tensor]
    features_of_references: Callable[[], Tensor]
    mirrored: bool = False  # whether it learned from the mirror image of each of them as well
    tell: Callable[[], None] = lambda: None  # that work goes on; may raise Interrupted
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def features(self) -> Tensor:
        """Inception's pool3 of the samples: (N, 2048) float32, on the CPU."""
        return self.features_of_samples()

    @cached_property
    def references(self) -> Tensor:
        """Those of the reference split: (M, 2048)."""
        return self.features_of_references()

    def learned(self, order: Tensor | None = None) -> Iterator[Tensor]:
        """The training images, or those at the positions ``order`` (N,), a piece at a time: (B, C, S, S) uint8.

        There may be millions, which are read from their files while earlier pieces are looked at.
        """
        for piece in batches(self.training, torch.arange(len(self.training)) if order is None else order, TOGETHER):
            yield piece
            self.tell()

    def shared(self, compute: Callable[..., Result], *args: Hashable) -> Result:
        """What ``compute(self, *args)`` gives, computed once for all metrics that ask for it."""
        key = compute, args
        if key not in self._shared:
            self._shared[key] = compute(self, *args)
        result: Result = self._shared[key]
        return result


class SampleMetric(Metric):
    """One number about the images that a generator makes: :meth:`measure` sees all of them at once.

    About the reconstructions of an autoencoder it says nothing.
    """

    of_samples = True
    knobs = (*Metric.knobs, "fid_resize")

    @classmethod
    def assets(cls, protocol: MeasureProtocol) -> tuple[str, ...]:
        return ("inception_fid",)

    def reset(self) -> None:
        self.state = {}

    def update(self, batch: Batch) -> None:
        return None

    def compute(self) -> None:
        return None

    def measure(self, samples: Samples) -> float:
        """The value. Raises RunError where there are too few samples or references for it."""
        raise NotImplementedError


class ImageMetric(Metric):
    """A mean over images of a value that each image has by itself. Subclasses give :meth:`values`."""

    def reset(self) -> None:
        self.state = {"sum": torch.zeros((), dtype=torch.float64), "count": torch.zeros((), dtype=torch.float64)}

    def values(self, batch: Batch) -> Tensor:
        """The value of each image, (B,)."""
        raise NotImplementedError

    def update(self, batch: Batch) -> Tensor:
        values = self.values(batch).double().cpu()  # (B,)
        self.state["sum"] += values.sum()
        self.state["count"] += len(values)
        return values

    def compute(self) -> float:
        return float(self.state["sum"] / self.state["count"])
