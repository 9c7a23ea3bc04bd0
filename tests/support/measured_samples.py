"""Samples and training images for the tests of what is measured on generators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqbench import protocol
from vqbench.metric import Context, SampleMetric, Samples

CPU = torch.device("cpu")
NOTHING = torch.zeros(0, 1, 2, 2, dtype=torch.uint8)


def metric(cls: Callable[[Context], Any]) -> SampleMetric:
    return cls(Context(protocol.MEASURE["clean"], "0" * 64, None, None, CPU))


def of_features(made: Tensor, real: Tensor) -> Samples:
    return Samples(NOTHING, NOTHING, lambda: made, lambda: real)


class WatchedImages:
    """Images that are read piece by piece and record the size and end of each request."""

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.asked: list[int] = []
        self.last = -1

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | Tensor) -> Tensor:
        positions = torch.arange(len(self))[which]
        self.asked.append(len(positions))
        self.last = max(self.last, int(positions.max()))
        return self.images[positions]

    def augmented(self, which: Tensor, seed: int) -> Tensor:
        raise AssertionError("samples are held against images as they are")


def smooth(count: int, seed: int, side: int = 40) -> Tensor:
    """Images (count, 3, side, side) uint8 of some colours that run into each other."""
    few = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed)) * 255
    return F.interpolate(few, size=(side, side), mode="bilinear").round().to(torch.uint8)


def symmetric(images: Tensor) -> Tensor:
    """Images of which the right half is the left one mirrored."""
    left = images[..., : images.shape[-1] // 2]
    return torch.cat([left, left.flip(-1)], -1)


def half_copied(training: Tensor, count: int) -> Tensor:
    """Samples, half of them training images with a grain of noise."""
    grain = torch.randint(0, 3, (count // 2, *training.shape[1:]), dtype=torch.uint8)
    copied = training[torch.randint(len(training), (count // 2,))] // 4 * 4 + grain
    return torch.cat([copied, smooth(count - count // 2, 7, training.shape[-1])])


def copies_by_hand(made: Tensor, training: Tensor, mirrored: bool = False) -> float:
    """Copies from whole matrices of distances at 32x32, in percent; it is the training images that are mirrored."""

    def small(levels: Tensor) -> np.ndarray:
        return F.adaptive_avg_pool2d(levels.double(), min(32, levels.shape[-1])).numpy()

    def distances(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return np.stack([np.sqrt(((others - each) ** 2).sum((1, 2, 3))) for each in some])

    originals = small(training)
    views = [originals, originals[..., ::-1]] if mirrored else [originals]
    apart = np.minimum.reduce([distances(small(made), view) for view in views])
    nearest = apart.argmin(1)
    among = np.minimum.reduce([distances(originals, view) for view in views])
    np.fill_diagonal(among, np.inf)
    return 100 * float((apart.min(1) < among.min(1)[nearest]).mean())
