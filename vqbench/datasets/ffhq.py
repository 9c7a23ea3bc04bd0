"""FFHQ: aligned portraits from Flickr, at any resolution."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from vqbench.assets.image_scan import skipped_files
from vqbench.dataset import Split
from vqbench.datasets._index import index
from vqbench.datasets._photographs import Photographs
from vqbench.datasets._split_files import Parts, SplitFiles
from vqbench.errors import AssetError

FIRST_TEST = 60_000
NUMBER = re.compile(r"(\d+)\.\w+$")


class Ffhq(Photographs):
    """70,000 portraits: the first 60,000 for training, the others for testing.

    Files are named by their number (00000.png ... 69999.png), flat or in buckets (00000/00000.png ...), or in tar
    shards. Split and order are by number, as in the authors' own split of 60,000 and 10,000.
    """

    title: ClassVar[str] = "FFHQ"
    source: ClassVar[str] = "Karras, Laine and Aila, A Style-Based Generator Architecture for GANs, CVPR 2019"
    licence: ClassVar[str] = "CC BY-NC-SA 4.0, the photographs under their own Creative Commons licences"
    counts: ClassVar[dict[Split, int]] = {"train": 60_000, "test": 10_000}
    folders: ClassVar[tuple[str, ...]] = ("ffhq", "FFHQ", "ffhq256", "images1024x1024")

    def split(self, root: Path) -> Parts:
        """Split by the number in each file's name."""
        whole = index(root)
        matches = [NUMBER.search(name) for name in whole.names]
        if not all(matches) or not matches:
            odd = next((name for name, match in zip(whole.names, matches, strict=True) if not match), None)
            over = skipped_files(whole.passed, all_of_them=True)
            none = f"it contains no image{f', only {over}' if over else ''}"
            what = f"{odd} is not named by a number" if odd else none
            raise AssetError(f"{root}: {what}, so this is not FFHQ; use the data set `photos` for other folders")
        numbers = np.array([int(match[1]) for match in matches if match])
        order = np.argsort(numbers, kind="stable")
        return {
            "train": SplitFiles(whole, order[numbers[order] < FIRST_TEST]),
            "test": SplitFiles(whole, order[numbers[order] >= FIRST_TEST]),
        }

    def remarks(self) -> Iterator[str]:
        """Yield a note on missing images, if any."""
        return self.fewer({"train": 60_000, "test": 10_000})
