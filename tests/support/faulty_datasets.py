"""Data sets with one planted fault each, by the check that must detect it."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image, ImageFile
from torch import Tensor

from vqbench.dataset import Dataset, Images, Split
from vqbench.datasets.photos import Photos

COUNTS: dict[Split, int] = {"train": 20, "test": 6}


def noise(split: Split, seed: int = 0, channels: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed + (split == "test"))
    return torch.randint(0, 256, (COUNTS[split], channels, 8, 8), generator=draw).byte()


class HonestNoise(Dataset):
    """Noise that is drawn with a seed."""

    title, source, licence, channels, size, holdout = "Noise", "drawn here", "CC0", 1, 8, 4
    counts: ClassVar[dict[Split, int]] = COUNTS

    def __init__(self, *, seed: int = 0) -> None:
        self.seed = seed

    def pixels(self, split: Split) -> Tensor | Images:
        return noise(split, self.seed)


class Unlicensed(HonestNoise):
    """No licence."""

    licence = ""


class NothingLeft(HonestNoise):
    """Holds out every training image."""

    holdout = 20


class AnyOptions(HonestNoise):
    """Arguments that a run key cannot name."""

    def __init__(self, **options: Any) -> None:
        super().__init__(seed=len(options))


class OtherKey(HonestNoise):
    """The run key names another data set."""

    @classmethod
    def canonical_args(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        return {"seed": 7}


class WrongCount(HonestNoise):
    """Fewer images than declared."""

    def pixels(self, split: Split) -> Tensor:
        return noise(split, self.seed)[:-1]


class Floats(HonestNoise):
    """Levels as floats in [0, 1]."""

    def pixels(self, split: Split) -> Tensor:
        return noise(split, self.seed).float() / 255


class DrawnAnew(HonestNoise):
    """Other images at every call."""

    def pixels(self, split: Split) -> Tensor:
        return torch.randint(0, 256, (COUNTS[split], 1, 8, 8)).byte()


class InMemory:
    """Images in pieces, without a fault."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        return self.images[which]

    def augmented(self, which: Tensor, seed: int, /) -> Tensor:
        return self.images[which].flip(-1)


class Pieces(HonestNoise):
    """Noise that is read in pieces."""

    reader: ClassVar[type[InMemory]] = InMemory

    def pixels(self, split: Split) -> Tensor | Images:
        return self.reader(noise(split, self.seed))

    def digest(self, split: Split) -> str:
        return hashlib.sha256(noise(split, self.seed).numpy().tobytes()).hexdigest()


class SortedReads(InMemory):
    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        return self.images[which if isinstance(which, slice) else which.sort().values]


class InAnyOrder(Pieces):
    """Positions are sorted before they are read."""

    reader = SortedReads


class Wraps(InMemory):
    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        return self.images[which if isinstance(which, slice) else which % len(self.images)]


class NoEnd(Pieces):
    """A position beyond the end is another image."""

    reader = Wraps


class SharedBuffer(InMemory):
    place: Any = None

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        self.place = which
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.002)
        return self.images[self.place]


class OneReader(Pieces):
    """Threads share the place that is read."""

    reader = SharedBuffer


class DrawnByBatch(InMemory):
    def augmented(self, which: Tensor, seed: int, /) -> Tensor:
        flips = torch.rand(len(which), generator=torch.Generator().manual_seed(seed)) < 0.5
        images = self.images[which]
        return torch.where(flips[:, None, None, None], images.flip(-1), images)


class AugmentedByBatch(Pieces):
    """Augmentation is drawn by the place in the batch."""

    reader = DrawnByBatch


class OneDigest(Pieces):
    """Both splits have the digest of the title."""

    def digest(self, split: Split) -> str:
        return hashlib.sha256(self.title.encode()).hexdigest()


class NameAsDigest(Pieces):
    """The digest is a name."""

    def digest(self, split: Split) -> str:
        return f"noise-{split}"


class Overlaps(HonestNoise):
    """The test images are training images."""

    def pixels(self, split: Split) -> Tensor:
        return noise("train", self.seed)[: COUNTS[split]]


class ByProcess(HonestNoise):
    """Another process draws other images."""

    def pixels(self, split: Split) -> Tensor:
        return noise(split, os.getpid())


class Tolerant(Dataset):
    """A folder of PNG files, whose damaged ones become grey."""

    title, source, licence, channels, size, holdout, on_disk = "Folder", "the user's", "the user's", 3, 16, 2, True
    counts: ClassVar[dict[Split, int]] = {"train": 12, "test": 5}

    def __init__(self, *, folder: str) -> None:
        self.folder = Path(folder)

    @classmethod
    def canonical_args(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        return dict(args)

    def pixels(self, split: Split) -> Tensor:
        files = sorted((self.folder / {"train": "train", "test": "val"}[split]).iterdir())
        return torch.stack([self.read(file) for file in files])

    def read(self, file: Path) -> Tensor:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            with Image.open(file) as image:
                return torch.from_numpy(np.array(image.convert("RGB").resize((16, 16)))).permute(2, 0, 1)
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


class KeyedByPath(Photos):
    """The path of the folder is part of the run key."""

    @classmethod
    def canonical_args(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        return dict(args)


FAULTS: dict[str, tuple[type[Dataset], ...]] = {
    "facts": (Unlicensed, NothingLeft),
    "arguments": (AnyOptions,),
    "key_arguments": (OtherKey,),
    "images": (WrongCount, Floats, DrawnAnew),
    "positions": (InAnyOrder, NoEnd),
    "threads_read_alike": (OneReader,),
    "augmentation": (AugmentedByBatch,),
    "digest": (OneDigest, NameAsDigest),
    "splits_are_disjoint": (Overlaps,),
    "processes_agree": (ByProcess,),
}
OF_FOLDERS: dict[str, tuple[type[Dataset], ...]] = {  # with a folder of images
    "key_arguments": (KeyedByPath,),
    "damaged_file_is_named": (Tolerant,),
    "content_decides": (KeyedByPath,),
}
HONEST = (HonestNoise, Pieces)
