"""LSUN: photographs of scenes, ten categories."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from vqbench.bounds import Bits, Side
from vqbench.dataset import Split
from vqbench.datasets._index import index
from vqbench.datasets._photographs import Photographs
from vqbench.datasets._split_files import Parts, SplitFiles
from vqbench.errors import AssetError

ENDS: dict[Split, str] = {"train": "train", "test": "val"}


class Lsun(Photographs):
    """One category's training images, tested on its 300 for validation.

    In the order of their keys. As published, two lmdb environments (``bedroom_train_lmdb``, ``bedroom_val_lmdb``), or
    folders: ``bedroom_train`` and ``bedroom_val``, or train/ and val/ within ``bedroom``. The other arguments are those
    of :class:`~vqbench.datasets._photographs.Photographs`.
    """

    title: ClassVar[str] = "LSUN"
    source: ClassVar[str] = "Yu et al., LSUN: Construction of a Large-scale Image Dataset, 2015, arXiv 1506.03365"
    licence: ClassVar[str] = "none stated; for research"
    counts: ClassVar[dict[Split, int]] = {"train": 3_033_042, "test": 300}  # of bedrooms
    folders: ClassVar[tuple[str, ...]] = ("lsun", "LSUN")

    def __init__(
        self,
        *,
        category: str = "bedroom",
        folder: str | None = None,
        size: Side = 256,
        damaged: Literal["refuse", "skip"] = "refuse",
        crop: Literal["centre", "random"] = "centre",
        flip: bool = False,
        content: str | None = None,
        bits: Bits | None = None,
    ) -> None:
        self.category = category
        super().__init__(folder=folder, size=size, damaged=damaged, crop=crop, flip=flip, content=content, bits=bits)
        self.title = f"LSUN {category}"  # type: ignore[misc]  # of this category

    def split(self, root: Path) -> Parts:
        """Split by the names of environments or folders."""
        parts: Parts = {}
        for split, end in ENDS.items():
            names = (f"{self.category}_{end}_lmdb", f"{self.category}_{end}", f"{self.category}/{end}")
            folder = next((root / name for name in names if (root / name).is_dir()), None)
            if folder is None:
                raise AssetError(
                    f"{root}: it has none of {', '.join(names)}; set folder to that of LSUN's {self.category}"
                )
            whole = index(folder)
            parts[split] = SplitFiles(whole, np.arange(len(whole)))
        return parts
