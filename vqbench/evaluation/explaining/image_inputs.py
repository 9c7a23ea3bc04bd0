"""Two sets of images that belong together, read at their own sizes.

Folders are matched by relative path without suffix, arrays by position.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from vqbench.assets import image_file
from vqbench.errors import AssetError, UsageError, counted
from vqbench.evaluation.explaining.settings import Inputs
from vqbench.evaluation.image_arrays import to_model
from vqbench.evaluation.image_files import ARRAYS, LARGEST, image_source
from vqbench.images import to_unit
from vqbench.system import files

BATCH = 20  # pairs at a time: few, since each is prepared in many ways
SOME = 5  # names in one message
FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class ImageSide:
    """One of both sets: a name and a reader per image."""

    what: str
    names: Sequence[str]
    read: Callable[[int], np.ndarray | Tensor]  # position -> (C, H, W), uint8 or floats in [0, 1]

    @classmethod
    def open(cls, path: Path, what: str) -> ImageSide:
        """Open a folder of images, or an array. Raises UsageError for anything else."""
        if path.suffix.lower() in ARRAYS:
            source = image_source(path, 3, 1)
            images = torch.cat(list(source.batches()))
            return cls(what, source.names, lambda place: images[place])
        if not path.is_dir():
            raise UsageError(f"{path}: no folder of images and no array (.npy, .npz)")
        found = image_source(path, 3, 1).names

        def read(place: int) -> np.ndarray:
            file = path / found[place]
            try:
                image = image_file.decode(files.read_regular(file, LARGEST))
            except (OSError, image_file.Unreadable) as error:
                reason = error.strerror if isinstance(error, OSError) else error
                raise AssetError(f"{file}: cannot be used ({reason}); repair or remove it") from error
            return np.asarray(image).transpose(2, 0, 1)  # (3, H, W)

        stems = [unicodedata.normalize("NFC", str(PurePosixPath(name).with_suffix(""))) for name in found]
        if len(set(stems)) < len(stems):
            twice = next(stem for stem in stems if stems.count(stem) > 1)
            raise UsageError(f"{path}: two images are called {twice!r} without their suffixes; keep one of them")
        return cls(what, stems, read)


class ImageInputs:
    """Matched pairs, as batches of a model's range.

    Args:
        originals: A folder or an array.
        reconstructions: Likewise.
        limit: The number of pairs, evenly spread over all; None for all.

    Raises:
        UsageError: Images without a partner, of different sizes or colours; the same path twice.
    """

    def __init__(self, originals: Path, reconstructions: Path, limit: int | None = None) -> None:
        if originals.resolve() == reconstructions.resolve():
            raise UsageError(f"{originals}: originals and reconstructions are the same; give two different ones")
        self.left = ImageSide.open(originals, "originals")
        self.right = ImageSide.open(reconstructions, "reconstructions")
        self.pairs = _matched(self.left, self.right)
        self.available = len(self.pairs)
        if limit is not None and limit < len(self.pairs):
            self.pairs = [self.pairs[i * len(self.pairs) // limit] for i in range(limit)]
        first, other = self.left.read(self.pairs[0][0]), self.right.read(self.pairs[0][1])
        self.size = int(other.shape[-2]), int(other.shape[-1])
        larger = first.shape[-2:] != other.shape[-2:]
        eight_bits = first.dtype in (np.uint8, torch.uint8) and other.dtype in (np.uint8, torch.uint8)
        self.facts = Inputs(len(self.pairs), *self.size, int(other.shape[0]), eight_bits, larger)

    def __len__(self) -> int:
        return len(self.pairs)

    def batches(self, preparation: str) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield originals and reconstructions (B, C, H, W) in [-1, 1]."""
        for start in range(0, len(self.pairs), BATCH):
            part = self.pairs[start : start + BATCH]
            originals = [self._original(left, preparation) for left, _ in part]
            reconstructions = [self._reconstruction(right) for _, right in part]
            yield torch.stack(originals), torch.stack(reconstructions)

    def _original(self, place: int, preparation: str) -> Tensor:
        image = self.left.read(place)
        if preparation != "given":
            return prepared(image, preparation, self.size, self.left.names[place])
        self._require_size(self.left, place, image)
        return _unit(image, self.left.what)

    def _reconstruction(self, place: int) -> Tensor:
        image = self.right.read(place)
        self._require_size(self.right, place, image)
        return _unit(image, self.right.what)

    def _require_size(self, side: ImageSide, place: int, image: np.ndarray | Tensor) -> None:
        if tuple(image.shape[-2:]) != self.size or image.shape[0] != self.facts.channels:
            shape, first = _shape(image.shape), _shape((self.facts.channels, *self.size))
            raise UsageError(f"{side.what} {side.names[place]!r} is {shape}, the first reconstruction {first}")


def prepared(image: np.ndarray | Tensor, preparation: str, size: tuple[int, int], name: str) -> Tensor:
    """Bring an original (C, H, W) of 8 bits to ``size``: (C, h, w) in [-1, 1].

    ``preparation`` is a value of the setting ``originals``. Raises UsageError for one that is too small to be cropped,
    or an image of floats.
    """
    levels = np.asarray(image)
    if levels.dtype != np.uint8 or levels.shape[0] != 3:
        raise UsageError(f"original {name!r}: only RGB images of 8 bits are resized; prepare the originals yourself")
    height, width = size
    if preparation.startswith("squash"):
        picture = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
        levels = np.asarray(picture.resize((width, height), FILTERS["bicubic"])).transpose(2, 0, 1)
    elif preparation.startswith("resize"):
        levels = _shorter_side(levels, max(height, width), preparation.partition(":")[2])
    if levels.shape[1] < height or levels.shape[2] < width:
        raise UsageError(f"original {name!r} is {_shape(levels.shape)}, smaller than its reconstruction")
    top, left = (levels.shape[1] - height) // 2, (levels.shape[2] - width) // 2
    return to_unit(torch.from_numpy(np.ascontiguousarray(levels[:, top : top + height, left : left + width])))


def _shorter_side(levels: np.ndarray, side: int, kernel: str) -> np.ndarray:
    """Resize (3, H, W) so that the shorter side is ``side``."""
    scale = side / min(levels.shape[1:])
    high, wide = (max(side, round(each * scale)) for each in levels.shape[1:])
    if kernel == "aliased":
        x = torch.from_numpy(np.ascontiguousarray(levels))[None].float()
        resized = interpolate(x, size=(high, wide), mode="bilinear", align_corners=False, antialias=False)
        return resized[0].round().clamp(0, 255).to(torch.uint8).numpy()
    picture = Image.fromarray(np.ascontiguousarray(levels.transpose(1, 2, 0)))
    return np.asarray(picture.resize((wide, high), FILTERS[kernel])).transpose(2, 0, 1)


def _matched(left: ImageSide, right: ImageSide) -> list[tuple[int, int]]:
    """Return positions of partners. Raises UsageError for images without one."""
    places = {name: place for place, name in enumerate(right.names)}
    for side, other in ((left, right), (right, left)):
        known = set(other.names)
        if alone := [name for name in side.names if name not in known]:
            some = ", ".join(repr(name) for name in alone[:SOME]) + (", ..." if len(alone) > SOME else "")
            raise UsageError(
                f"{len(left.names):,} originals, {len(right.names):,} reconstructions: "
                f"{counted(len(alone), 'image')} of the {side.what} without a partner: {some}"
            )
    return [(place, places[name]) for place, name in enumerate(left.names)]


def _unit(image: np.ndarray | Tensor, what: str) -> Tensor:
    tensor = image if isinstance(image, Tensor) else torch.from_numpy(np.ascontiguousarray(image))
    return to_model(tensor, what)


def _shape(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{height}x{width} with {counted(channels, 'channel')}"
