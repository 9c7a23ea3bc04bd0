"""Fashion-MNIST: articles of clothing, grey, 28x28."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vqbench import assets
from vqbench.dataset import Dataset, Split
from vqbench.datasets.mnist import FILES
from vqbench.images import idx_images


class FashionMnist(Dataset):
    """60,000 training and 10,000 test images, in files like MNIST's."""

    title: ClassVar[str] = "Fashion-MNIST"
    source: ClassVar[str] = "Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017"
    licence: ClassVar[str] = "MIT"
    channels: ClassVar[int] = 1
    size: ClassVar[int] = 28
    counts: ClassVar[dict[Split, int]] = {"train": 60_000, "test": 10_000}
    assets: ClassVar[tuple[str, ...]] = ("fashion_mnist",)

    def pixels(self, split: Split) -> Tensor:
        """Return the images of ``split``: (N, 1, 28, 28) uint8.

        Raises AssetError if they cannot be obtained.
        """
        return idx_images(assets.raw("fashion_mnist", FILES[split]))
