"""What all inputs of images have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from vqbench.errors import UsageError, VqbenchError, counted

FORMS = "a folder of images, tar shards, an lmdb environment, or an array as .npy, .npz or .pt"


class InputImage(NamedTuple):
    """One image as it is stored, decoded."""

    levels: np.ndarray  # (C, H, W) uint8, or floating-point
    grey: bool  # one channel; a grey file has three equal ones here


class DamagedImage(VqbenchError):
    """One image of an input that cannot be decoded."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"{name}: cannot be used ({reason}); repair it, or leave it out on both sides with --skip-damaged"
        )
        self.name, self.reason = name, reason


def all_damaged(images: Sequence[DamagedImage]) -> UsageError:
    """Return the error that no image is left, with the first of all that are damaged."""
    name, reason = images[0].name, images[0].reason
    return UsageError(f"all {counted(len(images), 'image')} are damaged; the first is {name} ({reason}); repair them")


class ImageInput(Protocol):
    """Images in an order, read by position; reading is safe from several threads."""

    path: str  # as the user named it
    kind: str  # in words
    notes: list[str]  # what a reader of the values must know

    @property
    def names(self) -> Sequence[str] | None:
        """By which images are matched; None where they have positions alone."""

    def __len__(self) -> int:
        """Return the number of images."""

    def read(self, positions: Sequence[int]) -> list[InputImage | DamagedImage]:
        """Return images, and in their place those that are damaged.

        Raises AssetError where the input can no longer be read.
        """

    def is_float(self) -> bool:
        """Return whether pixels are floats, whose range is to be known."""

    def stamp(self) -> list[Any]:
        """Return JSON data that changes whenever a file of the input is written."""
