"""The contract of a data set: two splits of uint8 images, or of features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

if TYPE_CHECKING:  # so that a data set's facts can be had without torch
    from torch import Tensor

Split = Literal["train", "test"]


class Images(Protocol):
    """A split that is too large for memory, indexed like a tensor of its images.

    Code that uses ``len(images)`` and ``images[...]`` alone therefore works for a tensor and for this alike.
    :func:`vqbench.images.batches` decodes ahead of a training.
    """

    def __len__(self) -> int:
        """Return the number of images, N."""

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        """Return some images, the same at every call.

        Must be safe to call from several threads at once.

        Args:
            which: A slice, or positions (B,) int64 in [0, N).

        Returns:
            (B, C, S, S) uint8 on the CPU.

        Raises:
            AssetError: An image can no longer be read.
        """

    def augmented(self, which: Tensor, seed: int, /) -> Tensor:
        """Return some images, augmented for training as this data set does it.

        Args:
            which: Positions (B,) int64 in [0, N).
            seed: Decides what is drawn for an image, together with its position and nothing else.

        Returns:
            (B, C, S, S) uint8 on the CPU.

        Raises:
            AssetError: An image can no longer be read.
        """


class Dataset:
    """Images of one size in a fixed order.

    It is the order of the official files, or of the files' names. ``counts``, ``size`` and ``holdout`` are facts of the
    class or, where they depend on its arguments, of the instance.

    >>> class Noise(Dataset):
    ...     title, source, licence, channels, size = "Noise", "drawn here", "CC0", 1, 8
    ...     counts = {"train": 64, "test": 16}
    ...     def pixels(self, split):
    ...         import torch
    ...         draw = torch.Generator().manual_seed(len(split))
    ...         return torch.randint(0, 256, (self.counts[split], 1, 8, 8), generator=draw).byte()
    >>> Noise().pixels("test").shape
    torch.Size([16, 1, 8, 8])
    """

    title: ClassVar[str]  # in a table
    source: ClassVar[str]  # authors, title, year
    licence: ClassVar[str]
    channels: ClassVar[int]  # 1 or 3
    size: ClassVar[int]  # height and width, in pixels
    counts: ClassVar[dict[Split, int]]
    holdout: ClassVar[int] = 5000  # the last training images, which the protocol ``clean`` keeps for model selection
    assets: ClassVar[tuple[str, ...]] = ()  # names in vqbench.assets.CATALOGUE that both splits need
    notes: ClassVar[tuple[str, ...]] = ()  # footnotes of every table of it, such as the images that were left out
    VERSION: ClassVar[int] = 1  # raised by hand when a change of the code changes the images
    exempt: ClassVar[Mapping[str, str]] = {}  # checks of `vqbench check` that it need not pass -> the reason
    check_args: ClassVar[Mapping[str, Any]] = {}  # of a small one, by which `vqbench check` tests the class
    of_features: ClassVar[bool] = False  # True: pixels() are features (N, channels, 1, 1) in float32, any channels
    on_disk: ClassVar[bool] = False  # True: a folder of this machine that a suite names, so its content may change

    @classmethod
    def canonical_args(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments for the run key, a digest in place of a path.

        Must not import torch.

        Args:
            args: All arguments of ``__init__``, as a suite resolves them.

        Returns:
            Arguments with which ``cls`` makes the same data set in any process on this machine.

        Raises:
            AssetError: The images cannot be used.
        """
        return dict(args)

    @classmethod
    def refresh(cls, args: Mapping[str, Any]) -> None:
        """Compare every file with what is cached of it; ``vqbench run`` does first.

        :meth:`canonical_args` may check less: the time of a folder does not show a file that was rewritten in place.
        """

    @classmethod
    def origin(cls, args: Mapping[str, Any]) -> tuple[str, str]:
        """Return source and licence of the images that a run with ``args`` used.

        Args:
            args: Of the run, as :meth:`canonical_args` returns them.
        """
        return cls.source, cls.licence

    def pixels(self, split: Split) -> Tensor | Images:
        """Return the images of ``split``, as a tensor or to be read in pieces.

        (N, channels, size, size) uint8 on the CPU; float32 of a data set of features.

        Raises:
            AssetError: The images are not on this machine and cannot be fetched.
        """
        raise NotImplementedError

    def digest(self, split: Split) -> str:
        """Return the sha256 of the raw pixels of ``split`` in C order.

        A data set that is not a tensor overrides this by the digests of its files and of what is done to them.

        Raises:
            AssetError: The images are not on this machine and cannot be fetched.
        """
        import hashlib

        import torch

        pixels = self.pixels(split)
        assert isinstance(pixels, torch.Tensor), f"{type(self).__name__} is read in pieces, so it must override digest"
        return hashlib.sha256(pixels.contiguous().numpy().tobytes()).hexdigest()
