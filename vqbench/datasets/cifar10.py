"""CIFAR10: photographs of animals and vehicles, colour, 32x32."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from vqbench import assets
from vqbench.dataset import Dataset, Split

FILES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test": ("test_batch.bin",),
}


class Cifar10(Dataset):
    """50,000 training and 10,000 test photographs."""

    title: ClassVar[str] = "CIFAR10"
    source: ClassVar[str] = "Krizhevsky, Learning multiple layers of features from tiny images, 2009"
    licence: ClassVar[str] = "none stated; its authors ask to cite Krizhevsky (2009)"
    channels: ClassVar[int] = 3
    size: ClassVar[int] = 32
    counts: ClassVar[dict[Split, int]] = {"train": 50_000, "test": 10_000}
    assets: ClassVar[tuple[str, ...]] = ("cifar10",)

    def pixels(self, split: Split) -> Tensor:
        """Return the images of ``split``: (N, 3, 32, 32) uint8.

        Raises AssetError if they cannot be obtained.
        """
        data = bytearray().join(assets.raw("cifar10", file) for file in FILES[split])
        rows = torch.frombuffer(data, dtype=torch.uint8).view(-1, 1 + 3 * 32 * 32)  # (N, label and pixels)
        return rows[:, 1:].reshape(-1, 3, 32, 32).contiguous()
