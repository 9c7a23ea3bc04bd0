"""Photographs in the user's folder; without one, scikit-image's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from vqbench.assets import cache_folder
from vqbench.assets.content import replacing
from vqbench.dataset import Split
from vqbench.datasets._index import Index, index
from vqbench.datasets._photographs import Photographs
from vqbench.datasets._split_files import Parts, SplitFiles
from vqbench.errors import AbsentData, AssetError, counted

TRAIN = ("train", "training")
TEST = ("test", "val", "valid", "validation")
ONE_IN = 10  # of the images in a folder without splits, one is for testing

# Photographs in scikit-image's wheel, lossless, and cut into crops: those of one photograph are all in one split.
OWN: dict[Split, tuple[str, ...]] = {
    "train": ("astronaut", "coffee", "camera", "brick", "grass", "gravel"),
    "test": ("chelsea", "coins"),
}
OWN_SOURCE = f"scikit-image's {', '.join(OWN['train'])}; {', '.join(OWN['test'])}"
OWN_LICENCE = "CC0 or without known restrictions"
OWN_CONTENT = "6b01f7cfbb36e052bb1e8cdd797d2c21"  # the digest of all crops of these
CROP, STRIDE = 128, 64


class Photos(Photographs):
    """Any folder of images, searched to all depths.

    With train/ and test/ (or val/), or without splits: then one image in ten is for testing, that is if the first 64
    bits of its file's sha256 are a multiple of ten. So equal files are never in both splits, and adding images moves
    none. Images are in the order of their names. Tar shards count as folders; in a folder without splits, the names of
    shards may state them.

    Without a folder: crops of 128 pixels, every 64 pixels, of eight photographs that scikit-image ships.
    """

    title: ClassVar[str] = "Photographs"
    source: ClassVar[str] = f"the user's folder, or {OWN_SOURCE}"
    licence: ClassVar[str] = f"the user's; scikit-image's are {OWN_LICENCE}"
    folders: ClassVar[tuple[str, ...]] = ("photos",)

    @classmethod
    def origin(cls, args: Mapping[str, Any]) -> tuple[str, str]:
        """Return those of scikit-image's images, or those of the user's folder."""
        if args.get("content") == OWN_CONTENT:
            return OWN_SOURCE, OWN_LICENCE
        return f"a folder of the user's, with the digest {args['content']}", "that of the images in this folder"

    def split(self, root: Path) -> Parts:
        """Split by folders, by the names of shards, or by digest."""
        if not root.is_dir():
            raise AbsentData(f"{root}: no such folder; set folder to one that contains images")
        train, test = (next((root / name for name in names if (root / name).is_dir()), None) for names in (TRAIN, TEST))
        if train and test:
            return {"train": _all(index(train)), "test": _all(index(test))}
        if there := train or test:
            lacks = "no train/" if test else f"none of {', '.join(f'{name}/' for name in TEST)}"
            raise AssetError(f"{root}: has {there.name}/ but {lacks}; add it, or put all images in one folder")
        whole = index(root)
        return _by_shard(whole) or _by_digest(whole)

    def default(self) -> Path:
        """Return the folder of crops, which are written once to our cache.

        Their bytes depend on their pixels alone.
        """
        root = cache_folder() / "images" / "scikit-image"
        if not (root / "whole").is_file():
            _write_crops(root)
        return root


def _all(whole: Index) -> SplitFiles:
    return SplitFiles(whole, np.arange(len(whole)))


def _by_shard(whole: Index) -> Parts | None:
    """Split by the names of tar shards, such as photos-train-0001.tar.

    None if no shards of both splits exist. Raises AssetError where they exist beside images of neither.
    """
    shards = [name.partition(".tar/")[0].lower() if ".tar/" in name else "" for name in whole.names]
    words = [set(re.split("[^a-z]+", shard)) for shard in shards]  # whole ones: latest.tar names no split
    train = np.array([not each.isdisjoint(TRAIN) for each in words], bool)
    test = np.array([not each.isdisjoint(TEST) for each in words], bool) & ~train
    if not (train.any() and test.any()):
        return None
    if (neither := np.flatnonzero(~(train | test))).size:
        raise AssetError(
            f"{whole.names[neither[0]]}: {counted(len(neither), 'image')} in neither the train nor the test shards; "
            "name their shards train or test, or move them away"
        )
    return {"train": SplitFiles(whole, np.flatnonzero(train)), "test": SplitFiles(whole, np.flatnonzero(test))}


def _by_digest(whole: Index) -> Parts:
    """Split off one in ten for testing, by the first 64 bits of digests."""
    numbers = np.ascontiguousarray(whole.digests[:, :8]).view(">u8")[:, 0]  # (N,)
    test = numbers % ONE_IN == 0
    return {"train": SplitFiles(whole, np.flatnonzero(~test)), "test": SplitFiles(whole, np.flatnonzero(test))}


def _write_crops(root: Path) -> None:
    """Write the crops as PPM files, whose bytes depend on pixels alone."""
    from PIL import Image
    from skimage import data

    try:
        for split, names in OWN.items():
            for name in names:
                photograph = np.asarray(Image.fromarray(getattr(data, name)()).convert("RGB"))  # (H, W, 3)
                height, width = photograph.shape[:2]
                for top in range(0, height - CROP + 1, STRIDE):
                    for left in range(0, width - CROP + 1, STRIDE):
                        crop = np.ascontiguousarray(photograph[top : top + CROP, left : left + CROP])
                        with replacing(root / split / f"{name}-{top:03}-{left:03}.ppm") as file:
                            file.write(f"P6 {CROP} {CROP} 255\n".encode() + crop.tobytes())
        with replacing(root / "whole") as file:
            file.write(b"")
    except OSError as error:
        raise AssetError(
            f"{root}: scikit-image's photographs cannot be written to it ({error}); set VQBENCH_CACHE to another folder"
        ) from error
