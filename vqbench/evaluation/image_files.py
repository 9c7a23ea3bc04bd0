"""Images of a user's folder or array file, in batches as a model takes them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqbench.assets import image_file
from vqbench.errors import AssetError, UsageError, nearest
from vqbench.evaluation.image_arrays import image_tensor
from vqbench.evaluation.reconstructions import BATCH
from vqbench.images import rounded
from vqbench.system import files, stored_files

ARRAYS = (".npy", ".npz")
NAME = "images"  # of the array in an .npz file that has several
LARGEST = 2**28  # bytes of one image file


@dataclass
class ImageSource:
    """Named images, to be read batch by batch."""

    names: list[str]
    _read: Any  # slice -> (B, C, S, S) uint8 or floating-point
    resized: int = 0  # images whose size was changed, of those read so far
    greyed: int = 0  # images that lost their colours, likewise

    def __len__(self) -> int:
        return len(self.names)

    def batches(self) -> Iterator[Tensor]:
        """Yield all images, in the order of their names."""
        for start in range(0, len(self), BATCH):
            yield self._read(slice(start, start + BATCH))


def image_source(path: Path, channels: int, size: int) -> ImageSource:
    """Open images: a folder of image files, one image file, or an array.

    Files are decoded to RGB, their shorter side resized to ``size`` and the centre cropped, as the data set ``photos``
    does; to grey if ``channels`` is 1. Arrays (N, C, H, W) are .npy files, or .npz files with one array or one called
    ``images``; they are not resized.

    Raises:
        UsageError: nothing of this kind at ``path``.
        AssetError: an image cannot be decoded, when it is read.
    """
    if path.suffix.lower() in ARRAYS:
        images = image_tensor(_array(path), str(path))
        return ImageSource([f"{number:06}" for number in range(len(images))], lambda which: images[which])
    if path.is_file():
        return _of_files(path.parent, [path.name], channels, size)
    if not path.is_dir():
        raise UsageError(f"{path}: no such file or folder; give a folder of images, or an array as .npy or .npz")
    names = sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if image_file.is_image(each.name))
    names = [name for name in names if not any(part.startswith(".") for part in Path(name).parts)]
    if not names:
        raise UsageError(f"{path}: no image file is in it; give a folder of images, or an array as .npy or .npz")
    return _of_files(path, names, channels, size)


def _of_files(root: Path, names: list[str], channels: int, size: int) -> ImageSource:
    source = ImageSource(names, None)

    def read(which: slice) -> Tensor:
        return torch.from_numpy(np.stack([one(root / name) for name in names[which]]))

    def one(path: Path) -> np.ndarray:
        """Read an image: (channels, size, size) uint8."""
        try:
            image = image_file.decode(files.read_regular(path, LARGEST))
        except (OSError, image_file.Unreadable) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise AssetError(f"{path}: cannot be used ({reason}); repair or remove it") from error
        source.resized += image.size != (size, size)
        levels = image_file.fit(image, size)  # (3, size, size)
        if channels == 3:
            return levels
        source.greyed += bool((levels != levels[:1]).any())
        return np.asarray(Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0))).convert("L"))[None]

    source._read = read
    return source


def _array(path: Path) -> np.ndarray:
    try:
        if path.suffix.lower() == ".npy":
            return stored_files.large_array(path)[0]
        arrays = stored_files.arrays(path)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; give a folder of images, or an array as .npy or .npz") from None
    except ValueError as error:
        raise UsageError(f"{path}: not an array of numbers ({error}); np.save and np.savez write such files") from None
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    if NAME not in arrays:
        raise UsageError(f"{path}: {len(arrays)} arrays, none called {NAME!r}; {nearest(NAME, arrays)}")
    return arrays[NAME]


def write_images(folder: Path, names: list[str], images: Tensor) -> None:
    """Write images (B, C, H, W) in [0, 1] as PNG files of 8 bits, rounded.

    Raises UsageError for a file that exists, and StoreError where it cannot be written.
    """
    for name, image in zip(names, rounded(images), strict=True):
        path = folder / name
        if path.exists():
            raise UsageError(f"{path}: exists; name a new or an empty folder with -o")
        buffer = io.BytesIO()
        array = image.permute(1, 2, 0).numpy()  # (H, W, C)
        Image.fromarray(array[..., 0] if array.shape[2] == 1 else array).save(buffer, "PNG")
        stored_files.write_atomically(path, buffer.getvalue())


def png_names(names: list[str]) -> list[str]:
    """Return a relative name that ends in .png for each of ``names``, all different.

    Raises UsageError for a name that leads out of a folder, since names may come from a file of anybody's.
    """
    for name in names:
        parts = name.replace("\\", "/").split("/")
        if not name or name.startswith("/") or ":" in name or "\0" in name or {"..", ".", ""} & set(parts):
            raise UsageError(f"{name[:80]!r}: not a name below a folder; write an .npz file with -o instead")
    short = [str(Path(name).with_suffix(".png")) for name in names]
    chosen = short if len(set(short)) == len(short) else [f"{name}.png" for name in names]
    if len(set(chosen)) < len(chosen):
        raise UsageError("two images have the same name; write an .npz file with -o instead")
    return chosen
