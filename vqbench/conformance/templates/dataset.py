"""What these images are, in one line."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vqbench.bounds import Fraction
from vqbench.dataset import Dataset, Split


class DatasetTemplate(Dataset):
    """Grey rectangles on a grey ground, drawn here; put your images here.

    Any folder of image files is the built-in data set `photos` already (`vqbench info dataset photos`).
    """

    title: ClassVar[str] = "Rectangles"  # in a table
    source: ClassVar[str] = "authors, title, year"
    licence: ClassVar[str] = "CC0"
    channels: ClassVar[int] = 1  # or 3
    size: ClassVar[int] = 32  # height and width in pixels
    counts: ClassVar[dict[Split, int]] = {"train": 2_000, "test": 200}
    holdout: ClassVar[int] = 200  # the last training images, by which the protocol `clean` selects an epoch
    VERSION: ClassVar[int] = 1  # raise it when a change of the code changes the images

    # Own arguments are keywords with a bounded type and a default: together they name a run.
    def __init__(self, *, noise: Fraction = 0.1) -> None:
        self.noise = noise

    # The same images in the same order at every call, in every process. An array of your own, for example:
    # torch.from_numpy(np.load("/data/mine.npz")[split]). Images that do not fit into memory: vqbench.dataset.Images.
    def pixels(self, split: Split) -> Tensor:
        """Return the images of ``split``: (N, 1, 32, 32) uint8."""
        count, side = self.counts[split], torch.arange(self.size)
        draw = torch.Generator().manual_seed(["train", "test"].index(split))
        top, left, height, width = torch.randint(4, 16, (4, count, 1, 1), generator=draw)
        ground, level = torch.randint(256, (2, count, 1, 1), generator=draw)
        rows, columns = side[:, None], side  # (32, 1), (32,)
        inside = (rows >= top) & (rows < top + height) & (columns >= left) & (columns < left + width)  # (N, 32, 32)
        grain = torch.randint(256, inside.shape, generator=draw) - 128
        clean = torch.where(inside, level, ground)
        return (clean + (self.noise * grain).round().long()).clamp(0, 255).to(torch.uint8)[:, None]
