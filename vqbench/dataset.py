"""The contract of a data set: two splits as uint8 tensors, known by the digest of their content."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

Split = Literal["train", "test"]


class Dataset:
    """Pictures of one size, small enough to be kept in memory, in the order of the official files."""

    title: ClassVar[str]  # as in a table
    source: ClassVar[str]  # who made it: authors, title, year
    licence: ClassVar[str]
    channels: ClassVar[int]
    size: ClassVar[int]  # height and width
    counts: ClassVar[dict[Split, int]]
    holdout: ClassVar[int] = 5000  # how many of the last training pictures the protocol ``clean`` keeps for selection
    assets: ClassVar[tuple[str, ...]] = ()  # names in the catalogue of vqbench.assets that both splits need
    VERSION: ClassVar[int] = 1

    def pixels(self, split: Split) -> Tensor:
        """The pictures of ``split``: (N, channels, size, size) uint8, on the CPU. Raises AssetError."""
        raise NotImplementedError

    def digest(self, split: Split) -> str:
        """Sha256 of the raw pixels of ``split`` in C order: names the content, whatever source it came from."""
        import hashlib

        return hashlib.sha256(self.pixels(split).contiguous().numpy().tobytes()).hexdigest()
