"""Open, match and check originals, reconstructions and codes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import log2, prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import UsageError, counted
from vqbench.measuring.inputs.array_input import ArrayFile
from vqbench.measuring.inputs.code_input import CodeInput
from vqbench.measuring.inputs.file_input import ImageFolder
from vqbench.measuring.inputs.image_input import DamagedImage, ImageInput, InputImage, all_damaged
from vqbench.measuring.inputs.opening import open_input
from vqbench.measuring.inputs.preparation import Preparation
from vqbench.measuring.inputs.value_range import FoundRange, ValueRange, found_range
from vqbench.measuring.matching import Matched, matched
from vqbench.measuring.pair_stream import PairReader

SOME = 5  # names in one note


@dataclass(frozen=True)
class ReadingOptions:
    """How inputs are read and matched."""

    by_order: bool = False
    originals_as: str | None = None  # such as resize:256:bicubic
    range: str | None = None  # of float arrays; None: detected
    array: str | None = None  # of several in a file
    skip_damaged: bool = False
    as_rgb: bool = False

    def require_sound(self, damaged: Mapping[str, str]) -> None:
        """Raise DamagedImage for one of ``damaged`` unless they are skipped.

        An earlier call may have skipped them.
        """
        if damaged and not self.skip_damaged:
            raise DamagedImage(*next(iter(damaged.items())))

    def require_array_in(self, *inputs: ImageInput) -> None:
        """Raise UsageError for the name of an array if no input has arrays by name."""
        if self.array is not None and not any(isinstance(each, ArrayFile) and each.has_names() for each in inputs):
            paths = ", ".join(each.path for each in inputs)
            raise UsageError(f"--array {self.array}: of files that hold arrays by name, .npz and .pt, unlike {paths}")

    def require_range_in(self, *found: FoundRange | ValueRange | None) -> None:
        """Raise UsageError for a declared range if no input has floats.

        ``found`` are the ranges of inputs, None of those that have 8 bits.
        """
        if self.range is not None and not any(found):
            raise UsageError(f"--range {self.range}: of float arrays only, and the images have 8 bits; leave it out")


@dataclass(frozen=True)
class PairInputs:
    """Matched pairs that can be read."""

    originals: ImageInput
    reconstructions: ImageInput
    codes: CodeInput | None
    matched: Matched
    options: ReadingOptions
    extremes: tuple[FoundRange | None, FoundRange | None] = (None, None)  # of float arrays
    code_places: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))  # (N,)

    @classmethod
    def open(
        cls,
        originals: Path,
        reconstructions: Path,
        codes: Path | None = None,
        num_codes: int | None = None,
        options: ReadingOptions | None = None,
    ) -> PairInputs:
        """Open and match inputs.

        Raises UsageError for inputs that do not fit together, AssetError for files that cannot be read.
        """
        options = options or ReadingOptions()
        if originals.exists() and reconstructions.exists() and os.path.samefile(originals, reconstructions):
            raise UsageError(f"{originals} and {reconstructions} are the same; give originals and reconstructions")
        if codes is None and num_codes is not None:
            raise UsageError("--num-codes without --codes: give both, since usage is counted from codes")
        left = originals_at(originals, options)
        right = open_input(reconstructions, options.array)
        options.require_array_in(left, right)
        return cls.of_opened(left, right, options, codes, num_codes)

    @classmethod
    def of_opened(
        cls,
        left: ImageInput,
        right: ImageInput,
        options: ReadingOptions,
        codes: Path | None = None,
        num_codes: int | None = None,
    ) -> PairInputs:
        """Match originals and reconstructions that were opened.

        See :meth:`open` for the rest.
        """
        pairs = matched(left, right, options.by_order)
        given = None if codes is None else CodeInput(codes, num_codes)
        places = np.empty(0, np.int64)
        if given is not None:
            by_name = pairs.by == "name"
            order = given.of(pairs.names if by_name else None, len(pairs))
            places = order if by_name else np.array(pairs.originals)
        return cls(left, right, given, pairs, options, _ranges(left, right, options), places)

    @property
    def depth(self) -> int:
        return 1 if self.codes is None else self.codes.depth

    @property
    def num_codes(self) -> int | None:
        return None if self.codes is None else self.codes.num_codes

    @property
    def bits(self) -> float | None:
        """None: no file says that bits are not those of the codebook's size."""
        return None

    def described(self) -> dict[str, Any]:
        """Return facts beyond those of both sides, as JSON data: none."""
        return {}

    @cached_property
    def reader(self) -> PairReader:
        """The pairs as batches."""
        return PairReader(
            self.originals,
            self.reconstructions,
            self.matched,
            (self.original_range, self.reconstruction_range),
            self.options.skip_damaged,
            self.options.as_rgb,
        )

    @property
    def original_range(self) -> ValueRange | None:
        """Range of originals that are floats; None: uint8."""
        return None if self.extremes[0] is None else self.extremes[0].range

    @property
    def reconstruction_range(self) -> ValueRange | None:
        """Range of reconstructions that are floats; None: uint8."""
        return None if self.extremes[1] is None else self.extremes[1].range

    @property
    def bits_per_image(self) -> float | None:
        """Bits of one image, whose codes cost the same each; None without codes."""
        return None if self.codes is None else prod(self.codes.codes.shape[1:]) * log2(self.codes.num_codes)

    def codes_of(self, places: Sequence[int]) -> Tensor | None:
        """Return the codes (B, h, w, depth) of some pairs."""
        if self.codes is None:
            return None
        return torch.from_numpy(self.codes.codes[self.code_places[list(places)]].astype(np.int64))

    def first_size(self) -> tuple[int, int]:
        """Return height and width of the first image that can be read."""
        damaged: list[DamagedImage] = []
        for place in range(len(self.matched)):
            (image,) = self.reconstructions.read([self.matched.reconstructions[place]])
            if isinstance(image, InputImage):
                return image.levels.shape[1], image.levels.shape[2]
            damaged.append(image)
        raise all_damaged(damaged)

    def notes(self) -> list[str]:
        """Say how the inputs were read, a sentence each."""
        notes = [*self.originals.notes, *self.reconstructions.notes]
        notes += [
            each.sentence(side.path)
            for side, each in zip((self.originals, self.reconstructions), self.extremes, strict=True)
            if each is not None
        ]
        if self.options.originals_as:
            notes.append(f"Originals were prepared by {self.options.originals_as}.")
        if self.matched.by == "position" and (self.originals.names or self.reconstructions.names):
            first, last = (self._pair(place) for place in (0, -1))
            notes.append(f"Matched by order: the first pair is {first}, the last {last}.")
        return notes

    def stamp(self) -> list[Any]:
        """Return JSON data that changes with any input, or the way it is read."""
        codes = None if self.codes is None else [self.num_codes, _digest(self.codes.codes), self.code_places.tolist()]
        ranges = [None if each is None else each.range.value for each in self.extremes]
        pairs = [self.matched.originals, self.matched.reconstructions]
        return [self.originals.stamp(), self.reconstructions.stamp(), codes, ranges, self.options.as_rgb, pairs]

    def _pair(self, place: int) -> str:
        sides = ((self.originals, self.matched.originals), (self.reconstructions, self.matched.reconstructions))
        names = [str(order[place]) if side.names is None else side.names[order[place]] for side, order in sides]
        return f"{names[0]} with {names[1]}"


def originals_at(path: Path, options: ReadingOptions) -> ImageInput:
    """Open originals, prepared as ``options`` say.

    Raises UsageError for arrays that would have to be prepared, AssetError for files that cannot be read.
    """
    opened = open_input(path, options.array)
    if options.originals_as is None:
        return opened
    preparation = Preparation.parse(options.originals_as)
    if not isinstance(opened, ImageFolder):
        raise UsageError(f"--originals-as: {path} is an array, which is not cropped or resized; give image files")
    return ImageFolder(path, preparation)


def _ranges(
    originals: ImageInput, reconstructions: ImageInput, options: ReadingOptions
) -> tuple[FoundRange | None, FoundRange | None]:
    """Find the range of each side that is a float array.

    Raises UsageError for two different ones.
    """
    declared = None if options.range is None else ValueRange.parse(options.range)
    first, second = (
        found_range(side, declared) if isinstance(side, ArrayFile) and side.is_float() else None
        for side in (originals, reconstructions)
    )
    options.require_range_in(first, second)
    if first is not None and second is not None and first.range is not second.range:
        raise UsageError(
            f"{originals.path} looks like {first.range.value} ({first.low:.4g} to {first.high:.4g}), "
            f"{reconstructions.path} like {second.range.value} ({second.low:.4g} to {second.high:.4g}); convert "
            "one, or declare the range of both with --range"
        )
    return first, second


def _digest(codes: np.ndarray) -> str:
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(codes).data).hexdigest()


def left_out(damaged: Mapping[str, str], what: str) -> list[str]:
    """Name the damaged images that were left out; no sentence without any.

    ``what`` was left out: "pair" or "image".
    """
    if not damaged:
        return []
    named = [f"{name} ({reason})" for name, reason in list(damaged.items())[:SOME]]
    more = f" and {len(damaged) - SOME:,} more" if len(damaged) > SOME else ""
    return [f"{counted(len(damaged), what)} left out, since an image is damaged: {', '.join(named)}{more}."]
