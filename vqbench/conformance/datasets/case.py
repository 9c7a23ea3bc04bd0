"""A data set under test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import torch
from torch import Tensor

from vqbench import assets
from vqbench.conformance.case import Case
from vqbench.conformance.outcome import Skip
from vqbench.dataset import Dataset, Images, Split
from vqbench.errors import AbsentData, AssetError
from vqbench.images import batches
from vqbench.registry import Kind
from vqbench.system.paths import path_of

SPLITS: tuple[Split, Split] = ("train", "test")
MOST = 20_000  # images of a split that are read; of larger ones, the first


@dataclass(frozen=True)
class DatasetCase(Case):
    """One data set with one set of arguments."""

    kind: ClassVar[Kind] = "datasets"

    def missing(self) -> str:
        if lacking := super().missing():
            return lacking
        subject = f"dataset {self.name!r}"
        if absent := [name for name in self.cls.assets if assets.state(name) == "missing"]:
            return f"{subject} needs {', '.join(absent)}: `vqbench prepare SUITE` fetches them"
        if not self.cls.on_disk:
            return ""
        try:
            self.build().digest("test")
        except AbsentData as error:
            return str(error)
        except AssetError as error:  # without a folder, nothing was given to be read
            return "" if self.folder else str(error)
        return ""

    @property
    def folder(self) -> tuple[str, Path] | None:
        """The argument that names a folder of images, and that folder."""
        for name, value in self.args.items():
            if isinstance(value, str) and value and self.cls.on_disk and path_of(value).is_dir():
                return name, path_of(value)
        return None

    def build(self) -> Dataset:
        """Construct the data set."""
        return cast(Dataset, self.cls(**self.args))


def first(images: Tensor | Images, count: int = MOST) -> Tensor:
    """Read the first images of a split, (count, C, S, S)."""
    if isinstance(images, Tensor):
        return images[:count]
    return torch.cat(list(batches(images, torch.arange(min(count, len(images))), 256)))


def digests(images: Tensor) -> list[str]:
    """Return the sha256 of each image."""
    return [hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest() for image in images]


def in_pieces(case: DatasetCase) -> None:
    """Raise Skip for a data set that is a tensor."""
    if isinstance(case.build().pixels("train"), Tensor):
        raise Skip("is a tensor in memory")
