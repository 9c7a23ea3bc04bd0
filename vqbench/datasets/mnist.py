"""MNIST: handwritten digits, grey, 28x28."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vqbench import assets
from vqbench.dataset import Dataset, Split
from vqbench.errors import AssetError

FILES: dict[Split, str] = {"train": "train-images-idx3-ubyte", "test": "t10k-images-idx3-ubyte"}


def idx_images(data: bytes) -> Tensor:
    """The images of an idx3 file: (N, 1, H, W) uint8. Its head is four big-endian int32: 0x803, N, H, W.

    Raises AssetError for anything else.
    """
    magic, n, height, width = (int.from_bytes(data[i : i + 4], "big") for i in range(0, 16, 4))
    if magic != 0x803 or not n or len(data) != 16 + n * height * width:
        raise AssetError("not a whole idx3 file of bytes; delete it, and it is fetched again")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=16).view(n, 1, height, width)


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
        """The images of ``split``: (N, 1, 28, 28) uint8. Raises AssetError if they are not to be had."""
        return idx_images(assets.raw("mnist", FILES[split]))
