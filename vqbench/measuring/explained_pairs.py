"""Pairs of images as ``vqbench explain`` reads them: again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from vqbench.errors import UsageError
from vqbench.evaluation.explaining.settings import Inputs
from vqbench.measuring.inputs.array_input import ArrayFile
from vqbench.measuring.inputs.image_input import DamagedImage, ImageInput, InputImage, all_damaged
from vqbench.measuring.inputs.preparation import FILTERS
from vqbench.measuring.inputs.value_range import ValueRange, found_range
from vqbench.measuring.matching import Matched
from vqbench.measuring.pair_inputs import PairInputs, ReadingOptions, originals_at
from vqbench.measuring.set_measurement import SetInput

GIVEN = "given"  # preparation of originals that have the size of their reconstructions


class ExplainedPairs:
    """Matched pairs, and perhaps other images that reconstructions are compared with.

    Args:
        originals: Images of any kind that ``vqbench measure`` reads.
        reconstructions: Likewise.
        other_reference: Other images, such as another split; None for none.
        limit: The number of pairs, evenly spread over all; None for all.
        options: How they are read and matched.

    Raises:
        UsageError: Inputs that do not fit together.
        AssetError: Files that cannot be read.
    """

    def __init__(
        self,
        originals: Path,
        reconstructions: Path,
        other_reference: Path | None = None,
        limit: int | None = None,
        options: ReadingOptions | None = None,
    ) -> None:
        inputs = PairInputs.open(originals, reconstructions, options=options)
        self.available = len(inputs.matched)
        self._inputs = replace(inputs, matched=spread(inputs.matched, limit))
        self._other = None if other_reference is None else other_images(other_reference, originals, inputs.options)

    @cached_property
    def facts(self) -> Inputs:
        """What decides which settings apply, by the first pair."""
        matched, inputs = self._inputs.matched, self._inputs
        damaged: list[DamagedImage] = []  # one of each pair
        for left, right in zip(matched.originals, matched.reconstructions, strict=True):
            (first,), (second,) = inputs.originals.read([left]), inputs.reconstructions.read([right])
            if isinstance(first, InputImage) and isinstance(second, InputImage):
                break
            damaged.append(next(image for image in (first, second) if isinstance(image, DamagedImage)))
            if not inputs.options.skip_damaged:
                raise damaged[0]
        else:
            raise all_damaged(damaged)
        (height, width), original = second.levels.shape[1:], first.levels.shape[1:]
        return Inputs(
            images=len(matched),
            height=height,
            width=width,
            channels=1 if first.grey and second.grey else 3,
            eight_bits=not (inputs.originals.is_float() or inputs.reconstructions.is_float()),
            larger=original != (height, width),
            references=None if self._other is None else len(self._other),
        )

    def notes(self) -> list[str]:
        """Say how the images were read, a sentence each."""
        notes = [*self._inputs.notes(), *([] if self._other is None else self._other.images.notes)]
        if self.facts.larger:
            notes.append("Originals and reconstructions differ in size: originals are resized, as the settings say.")
        return notes

    def batches(self, preparation: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield originals and reconstructions, (B, C, H, W) in [-1, 1]."""
        inputs = self._inputs
        if preparation != GIVEN:
            inputs = replace(inputs, originals=self._prepared(inputs.originals, preparation))
        for batch in inputs.reader.batches():
            if batch.places:
                yield batch.originals, batch.reconstructions

    def references(self, preparation: str) -> Iterable[Tensor]:
        """Yield the other images, (B, C, H, W) in [-1, 1], prepared as originals are."""
        if self._other is None:
            return []
        other = self._other
        if preparation != GIVEN:
            other = SetInput(self._prepared(other.images, preparation), other.range)
        return other.batches(range(len(other)))

    def _prepared(self, images: ImageInput, preparation: str) -> ImageInput:
        return PreparedInput(images, preparation, (self.facts.height, self.facts.width))


class PreparedInput:
    """Images of 8 bits, each cropped or resized to ``size`` when it is read.

    ``size`` is (height, width), ``preparation`` is a value of the setting ``originals``.
    """

    def __init__(self, images: ImageInput, preparation: str, size: tuple[int, int]) -> None:
        self.images, self.preparation, self.size = images, preparation, size
        self.path, self.kind, self.notes, self.names = images.path, images.kind, images.notes, images.names

    def __len__(self) -> int:
        return len(self.images)

    def is_float(self) -> bool:
        return self.images.is_float()

    def stamp(self) -> list[Any]:
        return [self.images.stamp(), self.preparation, list(self.size)]

    def read(self, positions: Sequence[int]) -> list[InputImage | DamagedImage]:
        if self.is_float():
            raise UsageError(f"{self.path}: floats of another size than their reconstructions; give images of 8 bits")
        return [
            image
            if isinstance(image, DamagedImage)
            else InputImage(prepared(image.levels, self.preparation, self.size), image.grey)
            for image in self.images.read(positions)
        ]


def prepared(levels: np.ndarray, preparation: str, size: tuple[int, int]) -> np.ndarray:
    """Bring an image (C, H, W) uint8 to ``size``: (C, h, w) uint8.

    ``preparation`` is a value of the setting ``originals``. What is too small to be cropped is enlarged first.
    """
    height, width = size
    way, _, kernel = preparation.partition(":")
    if way == "squash":
        levels = _resized(levels, (height, width), kernel)
    elif way == "resize" or levels.shape[1] < height or levels.shape[2] < width:
        scale = max(height, width) / min(levels.shape[1:])
        high, wide = (max(height, width, round(side * scale)) for side in levels.shape[1:])
        levels = _resized(levels, (high, wide), kernel or "bicubic")
    top, left = round((levels.shape[1] - height) * 0.5), round((levels.shape[2] - width) * 0.5)
    return np.ascontiguousarray(levels[:, top : top + height, left : left + width])


def _resized(levels: np.ndarray, size: tuple[int, int], kernel: str) -> np.ndarray:
    """Resize (C, H, W) by a filter of Pillow, or ``aliased``, which is PyTorch's."""
    if kernel == "aliased":
        x = torch.from_numpy(np.ascontiguousarray(levels))[None].float()
        resized = interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=False)
        return resized[0].round().clamp(0, 255).to(torch.uint8).numpy()
    high, wide = size
    planes = (Image.fromarray(np.ascontiguousarray(channel)) for channel in levels)
    return np.stack([np.asarray(plane.resize((wide, high), FILTERS[kernel])) for plane in planes])


def spread(matched: Matched, limit: int | None) -> Matched:
    """Return ``limit`` pairs, evenly spread."""
    if limit is None or limit >= len(matched):
        return matched
    places = [number * len(matched) // limit for number in range(limit)]
    return Matched(
        [matched.names[place] for place in places],
        [matched.originals[place] for place in places],
        [matched.reconstructions[place] for place in places],
        matched.by,
    )


def other_images(path: Path, originals: Path, options: ReadingOptions) -> SetInput:
    """Open the other images. Raises UsageError if they are the originals."""
    images = originals_at(path, options)
    if path.resolve() == originals.resolve():
        raise UsageError(f"--other-reference {path}: these are the originals; give the images of another split")
    if not (isinstance(images, ArrayFile) and images.is_float()):
        return SetInput(images)
    return SetInput(images, found_range(images, ValueRange.parse(options.range) if options.range else None).range)
