"""Folders of images for the tests of data sets of photographs."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support import odd_images
from vqbench import registry
from vqbench.dataset import Dataset
from vqbench.datasets.photos import Photos
from vqbench.errors import AssetError

SIZE = 16
TEXT = """
name: rewritten
train: {clean: {epochs: 1, batch_size: 4}}
measure: [clean]
datasets: [{photos: {size: 16}}]
backbone: {conv: {hidden: 16, residual_hidden: 8}}
codebook: {num_codes: 16, dim: 8}
quantizers: [{vq: {}}]
metrics: [l1]
"""


def noise(number: int, size: int = 24) -> bytes:
    """A PNG that no other number has."""
    levels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return odd_images.saved(Image.fromarray(levels), "PNG")


def ppm_noise(number: int) -> bytes:
    """A PPM file that no other number has, all of one size."""
    levels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    return odd_images.saved(Image.fromarray(levels), "PPM")


def fill(folder: Path, names: list[str], first: int = 0) -> None:
    """Write the images ``first``, ``first`` + 1, ... under ``names``."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(noise(first + number))


def photos(folder: Path, **args: object) -> Photos:
    return Photos(folder=str(folder), size=SIZE, **args)  # type: ignore[arg-type]


def pixels(dataset: Dataset, split: str) -> torch.Tensor:
    return dataset.pixels(split)[:]  # type: ignore[arg-type]


def canonical_args(**args: object) -> dict[str, object]:
    return dict(registry.resolve("datasets", "photos", {"size": SIZE, **args}).args)


def tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def refused(folder: Path, **args: Any) -> str:
    """The sentence by which a folder is refused."""
    with pytest.raises(AssetError) as error:
        photos(folder, **args)
    assert len(str(error.value)) < 900
    return str(error.value)


def rewrite(path: Path, data: bytes, keep_time: bool = False) -> None:
    """Give a file another content under its name, which no folder's time shows."""
    before = path.stat()
    with path.open("r+b") as file:
        file.truncate()
        file.write(data)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def deep(folder: Path, top: int, dtype: str = "uint16", kind: str = "PNG") -> None:
    """20 grey images of levels up to ``top``, half of them less bright."""
    for split, count in (("train", 15), ("test", 5)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            ramp = np.tile(np.linspace(0, top // (1 + number % 2), 24 + number).round().astype(dtype), (20, 1))
            name = f"{dtype}-{top}-{number:02}.{'png' if kind == 'PNG' else 'tif'}"
            (folder / split / name).write_bytes(odd_images.saved(Image.fromarray(ramp), kind))
