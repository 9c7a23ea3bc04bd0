"""Pairs of originals and what a model makes of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import log2
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import UsageError, shortened
from vqbench.images import read_ahead, workers
from vqbench.measuring.image_digests import equal_channels, image_digest
from vqbench.measuring.inputs.array_input import ArrayFile
from vqbench.measuring.inputs.image_input import DamagedImage, ImageInput, InputImage, all_damaged
from vqbench.measuring.inputs.value_range import FoundRange, ValueRange, as_unit, found_range
from vqbench.measuring.matching import Matched
from vqbench.measuring.models.image_model import ImageModel, ModelOutput
from vqbench.measuring.pair_inputs import ReadingOptions
from vqbench.measuring.pair_stream import PART, THREADS, PairBatch, most_together
from vqbench.system import freed_memory


class _Original(NamedTuple):
    place: int
    name: str
    levels: np.ndarray  # (C, H, W), with the channels that the model takes


@dataclass(frozen=True)
class ModelSide:
    """The reconstructions as tables and JSON describe them."""

    path: str
    kind: str
    images: int

    def __len__(self) -> int:
        return self.images


@dataclass(frozen=True)
class ModelCodes:
    """The codes that a model returns: their codebook, and how many an image has."""

    path: str
    num_codes: int
    shape: tuple[int, ...]  # (h, w, depth) of the first image's

    @property
    def depth(self) -> int:
        return self.shape[-1]


@dataclass(frozen=True)
class ModelInputs:
    """Originals, and the model that reconstructs them when they are read."""

    originals: ImageInput
    model: ImageModel
    matched: Matched
    options: ReadingOptions
    extremes: FoundRange | None  # of originals that are floats
    shape: tuple[int, int, int]  # (C, H, W) of the first image, as the model is given it
    codes: ModelCodes | None
    probe: str  # digest of the first reconstruction
    remarks: list[str] = field(default_factory=list)

    @classmethod
    def open(
        cls,
        originals: ImageInput,
        model: ImageModel,
        num_codes: int | None = None,
        options: ReadingOptions | None = None,
    ) -> ModelInputs:
        """Reconstruct the first image, to see whether originals and model fit.

        Raises UsageError unless they do, and RunError for a model that fails.
        """
        options = options or ReadingOptions()
        model = replace(model, num_codes=_codebook(model, num_codes))
        extremes = _range_of(originals, options)
        known = originals.names or [f"{place:06}" for place in range(len(originals))]
        order = sorted(range(len(known)), key=lambda place: known[place])
        matched = Matched([known[place] for place in order], order, order, "model")
        opened = cls(originals, model, matched, options, extremes, (0, 0, 0), None, "")
        first = opened.reader.first()
        output = model.reconstruct(np.stack([first.levels]), opened.reader.scale, [first.name], first.place)
        opened.reader.require_range(first, output)
        codes, remarks = _codes(model, output, num_codes)
        probe = hashlib.sha256(output.images.cpu().numpy().tobytes()).hexdigest()
        channels, height, width = first.levels.shape
        return replace(opened, shape=(channels, height, width), codes=codes, probe=probe, remarks=remarks)

    @cached_property
    def reader(self) -> ModelReader:
        """The pairs as batches."""
        depth, skip = None if self.codes is None else self.depth, self.options.skip_damaged
        return ModelReader(self.originals, self.model, self.matched, self.original_range, skip, depth)

    @property
    def reconstructions(self) -> ModelSide:
        return ModelSide(self.model.name, self.model.kind, len(self.matched))

    @property
    def depth(self) -> int:
        return 1 if self.codes is None else self.codes.depth

    @property
    def num_codes(self) -> int | None:
        return None if self.codes is None else self.codes.num_codes

    @property
    def bits(self) -> float | None:
        """Bits per position, where these are not those of the codebook's size."""
        return self.model.bits

    @property
    def original_range(self) -> ValueRange | None:
        """Range of originals that are floats; None: uint8."""
        return None if self.extremes is None else self.extremes.range

    @property
    def bits_per_image(self) -> float | None:
        """Bits of one image, whose codes cost the same each; None without codes."""
        if self.codes is None:
            return None
        height, width, depth = self.codes.shape
        return height * width * (depth * log2(self.codes.num_codes) if self.bits is None else self.bits)

    def first_size(self) -> tuple[int, int]:
        """Return height and width of the first image."""
        return self.shape[1], self.shape[2]

    def codes_of(self, places: Sequence[int]) -> Tensor | None:
        """Return None: each batch brings its codes."""

    def notes(self) -> list[str]:
        """Say how originals were read and reconstructed, a sentence each."""
        notes = list(self.originals.notes)
        if self.extremes is not None:
            notes.append(self.extremes.sentence(self.originals.path))
        if self.options.originals_as:
            notes.append(f"Originals were prepared by {self.options.originals_as}.")
        model, together = self.model, self.model.batch_size(*self.first_size())
        notes.append(
            f"Reconstructed by {model.name} ({model.kind}) on {model.device.type}: images and output in "
            f"{model.range.value}, output beyond is clipped, up to {together} images at a time."
        )
        return [*notes, *self.remarks]

    def stamp(self) -> list[Any]:
        """Return JSON data that changes with the originals and with the model."""
        model, scale = self.model, self.extremes
        facts = [model.range.value, model.most, model.num_codes, model.channels, *([self.probe] if model.blind else [])]
        read = None if scale is None else scale.range.value
        return [self.originals.stamp(), list(model.stamp), facts, read, self.matched.originals]

    def described(self) -> dict[str, Any]:
        """Return facts about the model, as JSON data."""
        model = self.model
        digest = hashlib.sha256(json.dumps(model.stamp).encode()).hexdigest()
        facts = {"name": model.name, "kind": model.kind, "digest": digest, "range": model.range.value}
        return {"model": {**facts, "batch_size": model.batch_size(*self.first_size()), "device": model.device.type}}


@dataclass(frozen=True)
class ModelReader:
    """Reads originals ahead, and reconstructs them in batches of up to 100.

    They are the same batches from wherever it starts.
    """

    originals: ImageInput
    model: ImageModel
    matched: Matched
    scale: ValueRange | None  # of originals; None: uint8
    skip_damaged: bool
    depth: int | None  # codes per position; None: codes are not counted

    def batches(self, position: int = 0) -> Iterator[PairBatch]:
        """Yield the pairs from ``position`` on, which ends a batch.

        Raises:
            DamagedImage: A damaged original, unless they are skipped.
            UsageError: An original or an output that does not fit.
            RunError: The model fails.
        """
        waiting: list[_Original] = []
        damaged: list[DamagedImage] = []
        total = len(self.matched)
        for originals in read_ahead(range(position, total, PART), self._part, min(workers(), THREADS)):
            for each in originals:
                if isinstance(each, DamagedImage):
                    if not self.skip_damaged:
                        raise each
                    damaged.append(each)
                    continue
                shape = each.levels.shape
                if waiting and (shape != waiting[0].levels.shape or len(waiting) == most_together(shape)):
                    yield self._joined(waiting, each.place, damaged)
                    waiting, damaged = [], []
                waiting.append(each)
        if waiting or damaged:
            yield self._joined(waiting, total, damaged)

    def first(self) -> _Original:
        """Return the first original that can be read.

        Raises DamagedImage, unless they are skipped; UsageError if all are damaged.
        """
        damaged: list[DamagedImage] = []
        for place in range(len(self.matched)):
            (image,) = self.originals.read([self.matched.originals[place]])
            if isinstance(image, InputImage):
                return self._original(place, image)
            if not self.skip_damaged:
                raise image
            damaged.append(image)
        raise all_damaged(damaged)

    def require_range(self, first: _Original, output: ModelOutput) -> None:
        """Raise UsageError if the model's output looks like that of another range."""
        if self.model.declared:
            return
        x, y = as_unit(np.stack([first.levels]), self.scale), output.images
        low, high = float(y.min()), float(y.max())
        if (float(x.min()) < -0.5 and low >= 0) or max(-low, high) > 3:
            raise UsageError(
                f"{self.model.name}: for {first.name}, given in -1..1, it returns values from {low:.4g} to {high:.4g}, "
                f"which look like {'0..1' if high <= 1.5 else '0..255'}; --model-range declares what it takes and "
                "returns (-1..1 if this is right)"
            )

    def _part(self, start: int) -> list[_Original | DamagedImage]:
        places = range(start, min(start + PART, len(self.matched)))
        images = self.originals.read([self.matched.originals[place] for place in places])
        originals = [
            image if isinstance(image, DamagedImage) else self._original(place, image)
            for place, image in zip(places, images, strict=True)
        ]
        freed_memory.release()
        return originals

    def _original(self, place: int, image: InputImage) -> _Original:
        """Give the image the channels that the model takes. Raises UsageError."""
        name, levels, model = self.matched.names[place], image.levels, self.model
        side = model.size
        if side is not None and levels.shape[1:] != (side, side):
            height, width = levels.shape[1:]
            raise UsageError(
                f"{name}: it has {height}x{width} pixels, and {model.name} takes {side}x{side}; "
                f"--originals-as resize:{side}:bicubic prepares files"
            )
        if model.channels == 1 and len(levels) == 3:
            if not (image.grey or equal_channels(levels)):
                raise UsageError(f"{name}: it has colours, and {model.name} takes one channel; give grey images")
            levels = levels[:1]
        elif model.channels == 3 and len(levels) == 1:
            levels = levels.repeat(3, axis=0)
        return _Original(place, name, levels)

    def _joined(self, waiting: Sequence[_Original], position: int, damaged: list[DamagedImage]) -> PairBatch:
        if not waiting:
            return PairBatch(torch.empty(0), torch.empty(0), [], [], position, damaged)
        levels, places = np.stack([each.levels for each in waiting]), [each.place for each in waiting]
        output = self.model.reconstruct(levels, self.scale, [each.name for each in waiting], places[0])
        codes = self._checked(output.codes)
        made = output.images.cpu()
        digests = [
            image_digest(InputImage(original, False), self.scale)
            + image_digest(InputImage(image.numpy(), False), ValueRange.SIGNED)
            for original, image in zip(levels, made, strict=True)
        ]
        return PairBatch(as_unit(levels, self.scale), made, places, digests, position, damaged, codes)

    def _checked(self, codes: Tensor | None) -> Tensor | None:
        """Return codes, if they are counted.

        Raises UsageError where their depth is not that of the first image's.
        """
        if self.depth is None:
            return None
        if codes is None or codes.shape[-1] != self.depth:
            has = "no codes" if codes is None else f"codes of depth {codes.shape[-1]}"
            raise UsageError(f"{self.model.name} returns {has}, and of the first image codes of depth {self.depth}")
        return codes.cpu()


def _range_of(originals: ImageInput, options: ReadingOptions) -> FoundRange | None:
    """Find the range of originals that are floats. Raises UsageError."""
    declared = None if options.range is None else ValueRange.parse(options.range)
    if isinstance(originals, ArrayFile) and originals.is_float():
        return found_range(originals, declared)
    if declared is not None:
        raise UsageError(f"--range {declared.value}: of float arrays only, and {shortened(originals.path)} has 8 bits")
    return None


def _codebook(model: ImageModel, given: int | None) -> int | None:
    if given is not None and model.num_codes is not None and given != model.num_codes:
        raise UsageError(f"--num-codes {given}: the codebook of {model.name} has {model.num_codes:,} codes")
    return model.num_codes if given is None else given


def _codes(model: ImageModel, output: ModelOutput, given: int | None) -> tuple[ModelCodes | None, list[str]]:
    """Return the facts of codes that can be counted.

    Also what a reader must know of others. Raises UsageError where there should be codes and are none.
    """
    if output.codes is None:
        if given is not None:
            raise UsageError(f"--num-codes {given}: {model.name} returns no codes; return (reconstructions, codes)")
        return None, []
    if model.num_codes is None:
        return None, [f"The codes of {model.name} are not counted: --num-codes states the size of its codebook."]
    return ModelCodes(model.name, model.num_codes, tuple(output.codes.shape[1:])), []
