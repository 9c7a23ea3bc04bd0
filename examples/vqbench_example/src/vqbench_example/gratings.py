"""Black and white stripes of all widths and directions."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vqbench.bounds import PositiveInt
from vqbench.dataset import Dataset, Split


class Gratings(Dataset):
    """Stripes of a random direction, phase and pair of grey levels, with grain.

    Drawn in whole numbers, so that every machine has the same images. ``widest``: pixels of the widest stripes.
    """

    title: ClassVar[str] = "Gratings"
    source: ClassVar[str] = "drawn by an example of vqbench"
    licence: ClassVar[str] = "CC0"
    channels: ClassVar[int] = 1
    size: ClassVar[int] = 32
    counts: ClassVar[dict[Split, int]] = {"train": 2_000, "test": 200}
    holdout: ClassVar[int] = 200
    VERSION: ClassVar[int] = 1

    def __init__(self, *, widest: PositiveInt = 8) -> None:
        self.widest = widest

    def pixels(self, split: Split) -> Tensor:
        """Return the images of ``split``: (N, 1, 32, 32) uint8."""
        draw = torch.Generator().manual_seed(["train", "test"].index(split))

        def integers(low: int, high: int) -> Tensor:
            return torch.randint(low, high, (self.counts[split], 1, 1), generator=draw)  # (N, 1, 1)

        rows, columns = torch.arange(self.size)[:, None], torch.arange(self.size)
        along = integers(-2, 3) * rows + integers(1, 3) * columns + integers(0, 64)  # (N, 32, 32)
        stripe = along // integers(1, self.widest + 1) % 2
        clean = torch.where(stripe == 0, integers(8, 128), integers(128, 248))
        grain = torch.randint(-8, 8, clean.shape, generator=draw)  # so that no two images are equal
        return (clean + grain).to(torch.uint8)[:, None]
