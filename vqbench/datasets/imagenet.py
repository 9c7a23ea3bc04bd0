"""ImageNet (ILSVRC 2012): photographs of a thousand kinds of things."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from vqbench.dataset import Split
from vqbench.datasets._index import index
from vqbench.datasets._photographs import Photographs
from vqbench.datasets._split_files import Parts, SplitFiles
from vqbench.errors import AssetError

INNER = "ILSVRC/Data/CLS-LOC"  # in the archive of the competition
NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "test": ("val", "validation")}


class Imagenet(Photographs):
    """1,281,167 training photographs, tested on the 50,000 for validation.

    The labels of its test split are not public. The folder has train/ and val/, with a folder per synset or flat, as
    files or tar shards; images are in the order of the files' own names, so that val/ is the same data set in either
    layout.
    """

    title: ClassVar[str] = "ImageNet"
    source: ClassVar[str] = "Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge, IJCV 2015"
    licence: ClassVar[str] = "non-commercial research, by registration at image-net.org"
    counts: ClassVar[dict[Split, int]] = {"train": 1_281_167, "test": 50_000}
    folders: ClassVar[tuple[str, ...]] = ("imagenet", "ImageNet", "ILSVRC2012", "imagenet-1k")

    def split(self, root: Path) -> Parts:
        """Split by folder."""
        base = root / INNER if (root / INNER).is_dir() else root
        parts: Parts = {}
        for split, names in NAMES.items():
            folder = next((base / name for name in names if (base / name).is_dir()), None)
            if folder is None:
                raise AssetError(f"{base}: it has no {names[0]}/; ImageNet has train/ and val/")
            whole = index(folder)
            own = [name.rpartition("/")[2] for name in whole.names]
            parts[split] = SplitFiles(
                whole, np.array(sorted(range(len(own)), key=lambda place: (own[place], place)), np.int64)
            )
        return parts

    def remarks(self) -> Iterator[str]:
        """Yield a note on missing images, if any."""
        return self.fewer({"train": 1_281_167, "test": 50_000})
