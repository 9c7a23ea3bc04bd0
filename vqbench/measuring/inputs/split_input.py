"""Images in memory, or of a data set, as an input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vqbench.dataset import Dataset, Images
from vqbench.measuring.inputs.image_input import DamagedImage, InputImage


@dataclass
class SplitInput:
    """Images (C, S, S) uint8 in a fixed order, as runs are evaluated on them."""

    path: str  # name of the data set
    kind: str
    images: Tensor | Images
    digest: str
    notes: list[str] = field(default_factory=list)
    names: Sequence[str] | None = None  # they have positions alone

    @classmethod
    def of_dataset(cls, name: str, dataset: Dataset) -> SplitInput:
        """Return the test split of a data set.

        Raises AssetError if it is not on this machine.
        """
        images = dataset.pixels("test")
        note = f"{name}: the test split, {len(images):,} images in the order that runs are evaluated in."
        return cls(name, "data set", images, dataset.digest("test"), [note])

    def __len__(self) -> int:
        return len(self.images)

    def read(self, positions: Sequence[int]) -> list[InputImage | DamagedImage]:
        pixels = self.images[torch.tensor(positions, dtype=torch.int64)]
        return [InputImage(levels.numpy(), len(levels) == 1) for levels in pixels]

    def is_float(self) -> bool:
        return False

    def stamp(self) -> list[Any]:
        return [self.kind, self.digest]
