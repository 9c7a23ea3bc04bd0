"""The first images of Fashion-MNIST, shipped with the package."""

from __future__ import annotations

from importlib import resources
from typing import ClassVar

from torch import Tensor

from vqbench.dataset import Dataset, Split
from vqbench.errors import AssetError
from vqbench.images import idx_images
from vqbench.system.files import MB, gunzip

FILES: dict[Split, str] = {
    "train": "fashion-mnist-train-first-4000-idx3-ubyte.gz",
    "test": "fashion-mnist-t10k-first-1000-idx3-ubyte.gz",
}


class FashionMnist5k(Dataset):
    """The first 4,000 training and 1,000 test images of Fashion-MNIST.

    Bit for bit and in its order: nothing to download, minutes to train on.
    """

    title: ClassVar[str] = "Fashion-MNIST 5k"
    source: ClassVar[str] = "Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017 (its first 4,000 and 1,000 images)"
    licence: ClassVar[str] = "MIT"
    channels: ClassVar[int] = 1
    size: ClassVar[int] = 28
    counts: ClassVar[dict[Split, int]] = {"train": 4_000, "test": 1_000}
    holdout: ClassVar[int] = 500

    def pixels(self, split: Split) -> Tensor:
        """Return the images of ``split``: (N, 1, 28, 28) uint8.

        Raises AssetError if the installation lacks its file.
        """
        file = resources.files("vqbench.datasets") / "data" / FILES[split]
        try:
            return idx_images(gunzip(file.read_bytes(), 10 * MB))
        except (OSError, AssetError) as error:
            raise AssetError(f"{file} is missing or broken ({error}): reinstall vqbench") from error
