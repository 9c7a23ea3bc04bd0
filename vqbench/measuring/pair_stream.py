"""Read pairs of images ahead, and join them to batches as metrics take them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import UsageError
from vqbench.evaluation.reconstructions import BATCH
from vqbench.images import read_ahead, workers
from vqbench.measuring.image_digests import equal_channels, image_digest
from vqbench.measuring.inputs.image_input import DamagedImage, ImageInput, InputImage
from vqbench.measuring.inputs.value_range import ValueRange, as_unit
from vqbench.measuring.matching import Matched
from vqbench.system import freed_memory

PART = 20  # pairs that one thread reads at a time
THREADS = 4  # at most, since what they have read waits in memory
PIXELS = 2**23  # of a batch: 100 images up to 289x289, fewer of larger ones


@dataclass(frozen=True)
class PairBatch:
    """Pairs of one size, as metrics take them, and where the reading is."""

    originals: Tensor  # (B, C, H, W) float32 in [-1, 1], perhaps beyond
    reconstructions: Tensor  # likewise
    places: list[int]  # of the pairs, among all
    digests: list[bytes]  # of each pair's decoded pixels: the original's, then the reconstruction's
    position: int  # pairs that were read up to the end of this batch, damaged ones included
    damaged: list[DamagedImage]  # met since the batch before
    codes: Tensor | None = None  # (B, h, w, depth) int64, where the model that reconstructs returns them


@dataclass(frozen=True)
class PairReader:
    """Reads matched pairs as batches of up to 100.

    They are the same batches from wherever it starts.
    """

    originals: ImageInput
    reconstructions: ImageInput
    matched: Matched
    ranges: tuple[ValueRange | None, ValueRange | None] = (None, None)  # of originals, reconstructions; None: uint8
    skip_damaged: bool = False
    as_rgb: bool = False  # grey against colours is measured as three equal channels

    def batches(self, position: int = 0) -> Iterator[PairBatch]:
        """Yield the pairs from ``position`` on, which ends a batch.

        Raises:
            DamagedImage: a damaged image, unless they are skipped.
            UsageError: a pair of different sizes or colours.
        """
        waiting: list[_Pair] = []
        damaged: list[DamagedImage] = []
        total = len(self.matched)
        starts = range(position, total, PART)
        for pairs in read_ahead(starts, self._part, min(workers(), THREADS)):
            for pair in pairs:
                if isinstance(pair, DamagedImage):
                    if not self.skip_damaged:
                        raise pair
                    damaged.append(pair)
                    continue
                if waiting and (pair.shape != waiting[0].shape or len(waiting) == most_together(waiting[0].shape)):
                    yield self._joined(waiting, pair.place, damaged)
                    waiting, damaged = [], []
                waiting.append(pair)
        if waiting or damaged:
            yield self._joined(waiting, total, damaged)

    def _part(self, start: int) -> list[_Pair | DamagedImage]:
        """Read and check the pairs from ``start`` on."""
        places = range(start, min(start + PART, len(self.matched)))
        left = self.originals.read([self.matched.originals[place] for place in places])
        right = self.reconstructions.read([self.matched.reconstructions[place] for place in places])
        pairs = [self._pair(*each) for each in zip(places, left, right, strict=True)]
        del left, right  # what images were decoded in
        freed_memory.release()
        return pairs

    def _pair(
        self, place: int, original: InputImage | DamagedImage, reconstruction: InputImage | DamagedImage
    ) -> _Pair | DamagedImage:
        for image in (original, reconstruction):
            if isinstance(image, DamagedImage):
                return image
        assert isinstance(original, InputImage)
        assert isinstance(reconstruction, InputImage)
        name = self.matched.names[place]
        if original.levels.shape[1:] != reconstruction.levels.shape[1:]:
            (height, width), (other_height, other_width) = original.levels.shape[1:], reconstruction.levels.shape[1:]
            raise UsageError(
                f"{name}: the original has {height}x{width} pixels, its reconstruction {other_height}x{other_width}; "
                "--originals-as says how originals were prepared, such as resize:256:bicubic"
            )
        sides = zip((original, reconstruction), self.ranges, strict=True)
        digests = b"".join(image_digest(image, scale) for image, scale in sides)
        levels = self._channels(name, original, reconstruction)
        return _Pair(place, levels[0], levels[1], digests)

    def _channels(self, name: str, *pair: InputImage) -> list[np.ndarray]:
        """Return both images with one channel if both are grey, else with three."""
        grey = [image.grey for image in pair]
        if grey[0] != grey[1]:
            grey = [image.grey or equal_channels(image.levels) for image in pair]
        if all(grey):
            return [image.levels[:1] for image in pair]
        if any(grey) and not self.as_rgb:
            which = ("original is grey, its reconstruction", "reconstruction is grey, its original")[grey[1]]
            raise UsageError(f"{name}: the {which} has colours; --as-rgb measures grey as three equal channels")
        return [np.broadcast_to(image.levels, (3, *image.levels.shape[1:])) for image in pair]

    def _joined(self, pairs: list[_Pair], position: int, damaged: list[DamagedImage]) -> PairBatch:
        """Join ``pairs`` to a batch, and empty the list.

        So they are in memory once while the batch is measured.
        """
        if not pairs:
            return PairBatch(torch.empty(0), torch.empty(0), [], [], position, damaged)
        sides = np.stack([pair.original for pair in pairs]), np.stack([pair.reconstruction for pair in pairs])
        places, digests = [pair.place for pair in pairs], [pair.digests for pair in pairs]
        pairs.clear()
        originals, reconstructions = (as_unit(side, scale) for side, scale in zip(sides, self.ranges, strict=True))
        return PairBatch(originals, reconstructions, places, digests, position, damaged)


class _Pair(NamedTuple):
    """One pair of one size, both (C, H, W)."""

    place: int
    original: np.ndarray
    reconstruction: np.ndarray
    digests: bytes

    @property
    def shape(self) -> tuple[int, ...]:
        return self.original.shape


def most_together(shape: Sequence[int]) -> int:
    """Return how many images of a shape (C, H, W) are a batch."""
    return max(1, min(BATCH, PIXELS // (shape[-2] * shape[-1])))
