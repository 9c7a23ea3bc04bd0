"""The contract of a data set: two splits of uint8 images, known by the digest of their content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:  # so that a data set's facts can be had without torch
    from torch import Tensor

Split = Literal["train", "test"]


class Images(Protocol):
    """A split that is too large for memory: read piece by piece, as a tensor would be.

    A tensor of all images is read the same way, so who reads by ``len(p)`` and ``p[...]`` need not ask which it has.
    :func:`vqbench.loading.batches` reads ahead of a training.
    """

    def __len__(self) -> int:
        """How many images there are: N."""

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        """The images of a slice, or at the positions (B,) int64: (B, C, S, S) uint8, on the CPU, always the same.

        Safe to be called from several threads at once. Raises AssetError for an image that can no longer be read.
        """

    def augmented(self, which: Tensor, seed: int, /) -> Tensor:
        """The images at ``which`` (B,), varied as this data set is varied for training: (B, C, S, S) uint8.

        What is drawn for an image follows from ``seed`` and its position alone.
        """


class Dataset:
    """Images of one size in a fixed order: that of the official files, or of their names.

    ``counts``, ``size`` and ``holdout`` belong to the class or, where they depend on its arguments, to the instance.
    """

    title: ClassVar[str]  # as in a table
    source: ClassVar[str]  # who made it: authors, title, year
    licence: ClassVar[str]
    channels: ClassVar[int]
    size: ClassVar[int]  # height and width
    counts: ClassVar[dict[Split, int]]
    holdout: ClassVar[int] = 5000  # how many of the last training images the protocol ``clean`` keeps for selection
    assets: ClassVar[tuple[str, ...]] = ()  # names in the catalogue of vqbench.assets that both splits need
    notes: ClassVar[tuple[str, ...]] = ()  # what stands below every table of it, such as images that were left out
    VERSION: ClassVar[int] = 1
    on_disk: ClassVar[bool] = False  # True: a folder of this machine that a suite names, so its content may change

    @classmethod
    def settled(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments as a run is named by them: one that says where images lie gives way to which they are.

        ``cls(**settled)`` must make the same data set in any process of this machine. Needs no torch.
        """
        return dict(args)

    @classmethod
    def refresh(cls, args: Mapping[str, Any]) -> None:
        """Compare the state of every file on this machine with what is kept of it, as ``vqbench run`` does first.

        :meth:`settled` may look less closely: a folder's time does not show a file that was rewritten in place.
        """

    def pixels(self, split: Split) -> Tensor | Images:
        """The images of ``split``: (N, channels, size, size) uint8 on the CPU, or what reads them piece by piece.

        Raises AssetError where they are not to be had.
        """
        raise NotImplementedError

    def digest(self, split: Split) -> str:
        """Sha256 of the raw pixels of ``split`` in C order: names the content, whatever source it came from.

        A data set that is not resident names it by the digests of its files and by what is done to them.
        """
        import hashlib

        import torch

        pixels = self.pixels(split)
        assert isinstance(pixels, torch.Tensor), f"{type(self).__name__} reads piece by piece, so needs a digest"
        return hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
