"""Photographs, and what JPEG makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

SIDE = 64
COUNT = 24


def photographs(count: int = COUNT, side: int = SIDE) -> list[np.ndarray]:
    """Parts (side, side, 3) uint8 of photographs that ship with scikit-image."""
    parts = [
        image[top : top + side, left : left + side]
        for image in (data.astronaut(), data.coffee(), data.cat())
        for top in range(0, image.shape[0] - side + 1, side)
        for left in range(0, image.shape[1] - side + 1, side)
    ]
    return parts[:: len(parts) // count][:count]


def write_pairs(folder: Path, count: int = COUNT, side: int = SIDE, quality: int = 30) -> tuple[Path, Path]:
    """Write photographs as PNG, and JPEG copies of the same names; return both folders."""
    originals, reconstructions = folder / "originals", folder / "reconstructions"
    for number, levels in enumerate(photographs(count, side)):
        for root in (originals, reconstructions):
            (root / f"part{number % 2}").mkdir(parents=True, exist_ok=True)
        name = f"part{number % 2}/photo.{number}"
        Image.fromarray(levels).save(originals / f"{name}.png")
        Image.fromarray(levels).save(reconstructions / f"{name}.jpg", quality=quality)
    return originals, reconstructions


def levels_of(path: Path) -> np.ndarray:
    """The pixels (H, W, 3) of a file, by Pillow alone."""
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture(scope="session")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of originals and reconstructions."""
    return write_pairs(tmp_path_factory.mktemp("pairs"))
