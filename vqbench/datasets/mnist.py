"""MNIST: handwritten digits, grey, 28x28."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vqbench import assets
from vqbench.dataset import Dataset, Split
from vqbench.images import idx_images

FILES: dict[Split, str] = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}


class Mnist(Dataset):
    """60,000 training and 10,000 test digits."""

    title: ClassVar[str] = "MNIST"
    source: ClassVar[str] = "LeCun, Cortes and Burges, The MNIST database of handwritten digits, 1998"
    licence: ClassVar[str] = "CC BY-SA 3.0"
    channels: ClassVar[int] = 1
    size: ClassVar[int] = 28
    counts: ClassVar[dict[Split, int]] = {"train": 60_000, "test": 10_000}
    assets: ClassVar[tuple[str, ...]] = ("mnist",)

    def pixels(self, split: Split) -> Tensor:
        """Return the images of ``split``: (N, 1, 28, 28) uint8.

        Raises AssetError if they cannot be obtained.
        """
        return idx_images(assets.raw("mnist", FILES[split]))
