"""What a model makes of images, as ``vqbench explain`` reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from vqbench.evaluation.explaining.settings import Inputs
from vqbench.measuring.explained_pairs import other_images, spread
from vqbench.measuring.models.model_inputs import ModelInputs

KEPT = 2**30  # bytes of pairs that are kept in memory, so that the model computes once


class ExplainedModel:
    """Originals and their reconstructions, and perhaps other images to compare with.

    Args:
        inputs: The model and its originals, which are given to it as they are.
        other_reference: Other images, such as another split; None for none.
        limit: The number of originals, evenly spread over all; None for all.

    Raises:
        UsageError: The other images are the originals.
        AssetError: Files that cannot be read.
    """

    def __init__(self, inputs: ModelInputs, other_reference: Path | None = None, limit: int | None = None) -> None:
        self.available = len(inputs.matched)
        self._inputs = replace(inputs, matched=spread(inputs.matched, limit))
        originals = Path(inputs.originals.path)
        self._other = None if other_reference is None else other_images(other_reference, originals, inputs.options)
        self._kept: list[tuple[Tensor, Tensor]] = []
        self._whole = False  # whether all pairs are kept

    @cached_property
    def facts(self) -> Inputs:
        """What decides which settings apply, by the first pair."""
        channels, height, width = self._inputs.shape
        return Inputs(
            images=len(self._inputs.matched),
            height=height,
            width=width,
            channels=channels,
            references=None if self._other is None else len(self._other),
        )

    def notes(self) -> list[str]:
        """Say how the images were read and reconstructed, a sentence each."""
        return [*self._inputs.notes(), *([] if self._other is None else self._other.images.notes)]

    def batches(self, preparation: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield originals and reconstructions, (B, C, H, W) in [-1, 1]."""
        if self._whole:
            yield from self._kept
            return
        pairs: list[tuple[Tensor, Tensor]] = []
        left = KEPT
        for batch in self._inputs.reader.batches():
            if not batch.places:
                continue
            pair = batch.originals, batch.reconstructions
            left -= sum(side.nbytes for side in pair)
            if left >= 0:
                pairs.append(pair)
            else:
                pairs.clear()
            yield pair
        if left >= 0:
            self._kept, self._whole = pairs, True

    def references(self, preparation: str) -> Iterable[Tensor]:
        """Yield the other images, (B, C, H, W) in [-1, 1], prepared as originals are."""
        return [] if self._other is None else self._other.batches(range(len(self._other)))
