"""The files of splits, the digest of their content, and where it was last seen.

Must not import torch.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vqbench.assets import cache_folder
from vqbench.assets.content import replacing
from vqbench.dataset import Split
from vqbench.datasets._index import Index
from vqbench.errors import AssetError
from vqbench.system.files import MB, read_regular

SOME = 5  # names of damaged files in one message


@dataclass
class SplitFiles:
    """One split: positions (N,) of its files in an index, also damaged ones."""

    index: Index
    positions: np.ndarray

    @property
    def sound(self) -> np.ndarray:
        """The positions of files that can be used."""
        bad = np.array(sorted(self.index.damaged), np.int64)
        return self.positions[~np.isin(self.positions, bad)]

    @property
    def damaged(self) -> list[str]:
        """The names of files that cannot be used, each with the reason."""
        return [
            f"{shortened(self.index.names[position])} ({self.index.damaged[position][:100]})"
            for position in self.positions.tolist()
            if position in self.index.damaged
        ]


Parts = dict[Split, SplitFiles]


def passed(parts: Parts) -> Counter[str]:
    """Count the skipped files in the folders of all splits, each once."""
    indexes = {str(part.index.root): part.index for part in parts.values()}
    return sum((Counter(index.passed) for index in indexes.values()), Counter())


def shortened(name: str, length: int = 60) -> str:
    """Return a long name with its middle cut out."""
    return name if len(name) <= length else f"{name[: length // 2 - 1]}...{name[-length // 2 + 2 :]}"


def some(names: list[str]) -> str:
    return ", ".join(names[:SOME]) + (f" and {len(names) - SOME} more" if len(names) > SOME else "")


def content_of(parts: Parts) -> str:
    """Return 32 hexadecimal digits for the usable files of both splits."""
    sha = hashlib.sha256()
    for split in ("train", "test"):
        part = parts[split]
        sha.update(f"{split}:{len(part.sound)}:".encode() + part.index.digests[part.sound].tobytes())
    return sha.hexdigest()[:32]


def _place(cls: type, content: str) -> Path:
    return cache_folder() / "images" / f"{cls.__name__.lower()}-{content}.place"


def note_folder(cls: type, content: str, root: Path) -> None:
    """Note the folder of a content, for other processes. Raises AssetError."""
    path, text = _place(cls, content), os.fsencode(root.resolve())
    with suppress(OSError):
        if read_regular(path, MB) == text:
            return
    try:
        with replacing(path) as file:
            file.write(text)
    except OSError as error:
        raise AssetError(
            f"{path}: cannot be written ({error.strerror}); set VQBENCH_CACHE to another folder"
        ) from error


def noted_folder(cls: type, content: str) -> Path | None:
    with suppress(OSError):
        return Path(os.fsdecode(read_regular(_place(cls, content), MB)))
    return None
