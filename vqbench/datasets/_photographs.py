"""The base class of data sets that are folders of image files.

A run key contains which images a run was trained on and measured with, never their path: ``content`` is a digest over
the bytes of all files of both splits, in order. The path of a folder with that content is noted in our cache folder, so
that other processes find it. Names of files, containers and folders are no part of the digest: the same files in
buckets, flat or in tar shards are the same data set. Must not import torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vqbench.assets import image_file
from vqbench.assets.cache import data_folder
from vqbench.assets.image_scan import skipped_files
from vqbench.bounds import Bits, Side
from vqbench.dataset import Dataset, Split
from vqbench.datasets._deep_images import dim_images, require_bits
from vqbench.datasets._index import refresh
from vqbench.datasets._split_files import (
    Parts,
    SplitFiles,
    content_of,
    note_folder,
    noted_folder,
    passed,
    shortened,
    some,
)
from vqbench.errors import AbsentData, AssetError, UsageError
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from vqbench.datasets._files import FileImages

WORDS: dict[Split, str] = {"train": "training", "test": "test"}


class Photographs(Dataset):
    """Image files, resized by their shorter side and cropped to a square.

    Args:
        folder: The files' folder; None: the folder of the data set's name in ``VQBENCH_DATA``.
        size: Side of the square, in pixels, at least 8.
        damaged: Files that cannot be decoded to the end are an error (``refuse``), or are left out (``skip``), which a
            note below every table states.
        crop: Training images are cropped at the ``centre`` or at a ``random`` position; test images at the centre.
        flip: Half of the training images are mirrored.
        content: The digest of the files, computed if None; otherwise that of the folder must be equal.
        bits: Bits (8 to 16) of the levels of deep grey images, those of more than 8 bits. None: 16, and images that
            would then be near black are an error.

    Raises:
        AssetError: The files cannot be used.
        UsageError: ``size`` or ``bits`` out of range.
    """

    channels: ClassVar[int] = 3
    on_disk: ClassVar[bool] = True
    folders: ClassVar[tuple[str, ...]] = ()  # where it may lie below VQBENCH_DATA

    def __init__(
        self,
        *,
        folder: str | None = None,
        size: Side = 256,
        damaged: Literal["refuse", "skip"] = "refuse",
        crop: Literal["centre", "random"] = "centre",
        flip: bool = False,
        content: str | None = None,
        bits: Bits | None = None,
    ) -> None:
        if bits is not None and not 8 <= bits <= image_file.WORD:
            raise UsageError(f"{self.title}: images of {bits} bits are not read; give bits from 8 to {image_file.WORD}")
        if size < 8:
            raise UsageError(f"{self.title}: images of {size} pixels are too small; give a size of 8 or more")
        self.size = size  # type: ignore[misc]  # known only with its arguments, as are counts, holdout and notes
        self.crop, self.flip, self.damaged = crop, flip, damaged
        self.bits = bits or image_file.WORD
        self.parts = self._located(folder, content)
        self.content = content
        if self.parts is not None:
            self._refuse()
            known = bits is not None or content is not None  # a digest names files that were accepted before
            require_bits(self.title, self.parts, self.bits, chosen=known)
            self.content = content_of(self.parts)
            self.counts = {split: len(part.sound) for split, part in self.parts.items()}  # type: ignore[misc]  # likewise
            self.holdout = min(type(self).holdout, self.counts["train"] // 10)  # type: ignore[misc]  # likewise
            dim = dim_images(self.title, self.parts, self.bits)
            self.notes = (*self._left_out(), *self._skipped(), *dim, *self.remarks())  # type: ignore[misc]  # likewise

    # Defined by each data set -----------------------------------------------------------------------------------------

    def split(self, root: Path) -> Parts:
        """Split the folder ``root``. Raises AssetError for another layout."""
        raise NotImplementedError

    def default(self) -> Path | None:
        """Return the folder to use if the user has none."""
        return None

    def remarks(self) -> Iterator[str]:
        """Yield more notes for below a table, such as on missing images."""
        return iter(())

    def fewer(self, official: Mapping[Split, int]) -> Iterator[str]:
        """Yield a note for each split with another number of images than official."""
        for split, count in official.items():
            if self.counts[split] != count:
                yield f"{self.title}: {self.counts[split]:,} {WORDS[split]} images are used, of {count:,}."

    # The contract ----------------------------------------------------------------------------------------------------

    @classmethod
    def canonical_args(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        """Replace the folder by the digest of its content, None without a folder.

        ``bits`` was added later, so it is left out where it is 16, as before.
        """
        dataset = cls(**args)
        named = {name: value for name, value in args.items() if name != "bits" or value not in (None, image_file.WORD)}
        return {**named, "folder": None, "content": dataset.content}

    @classmethod
    def refresh(cls, args: Mapping[str, Any]) -> None:
        """Compare the stamps of all files, to notice those rewritten in place."""
        content, folder = args.get("content"), args.get("folder")
        if folder is None and content is not None and (noted := noted_folder(cls, content)) is not None:
            folder = str(noted)
        try:
            dataset = cls(**{**args, "folder": folder, "content": None, "damaged": "skip", "bits": image_file.WORD})
        except AssetError:
            return  # no such folder, or no usable image in it: an error where it is opened
        for part in (dataset.parts or {}).values():
            refresh(part.index)

    def pixels(self, split: Split) -> FileImages:
        """Return the images of ``split``, read from files. Raises AssetError."""
        from vqbench.datasets._files import FileImages

        part = self._part(split)
        augmented = split == "train"
        return FileImages(
            part.index,
            part.sound,
            self.size,
            *(augmented and self.crop == "random", augmented and self.flip),
            self.bits,
        )

    def digest(self, split: Split) -> str:
        """Return the sha256 of the files' digests, the size and the decoding."""
        part = self._part(split)
        bits = "" if self.bits == image_file.WORD else f":{self.bits}"
        what = f"{part.index.digests[part.sound].tobytes().hex()}:{self.size}:{image_file.VERSION}{bits}"
        return hashlib.sha256(what.encode()).hexdigest()

    def _part(self, split: Split) -> SplitFiles:
        if self.parts is None:
            places = " or ".join(self.folders)
            raise AssetError(
                f"{self.title} is not on this machine: set the argument `folder`, or put it as {places} into the "
                "folder VQBENCH_DATA"
            )
        return self.parts[split]

    def shapes(self, most: int) -> list[tuple[int, int]]:
        """Return (height, width) of at most ``most`` images, as stored.

        They are spread evenly over both splits.
        """
        shapes = []
        for part in map(self._part, WORDS):
            chosen = part.sound[:: -(-2 * len(part.sound) // most)].tolist()
            shapes += [image_file.stored_shape(part.index.read(position)) for position in chosen]
        return shapes

    # The folder ------------------------------------------------------------------------------------------------------

    def _located(self, folder: str | None, content: str | None) -> Parts | None:
        """Return the splits of the first folder, with that ``content`` if given.

        None if no folder exists. Raises AssetError if only folders of other content exist.
        """
        others = []
        for root in self._candidates(folder, content):
            parts = self._whole(root)
            actual = content_of(parts)
            if content in (None, actual):
                note_folder(type(self), actual, root)
                return parts
            others.append(f"{root} (content {actual})")
        if content is not None:
            raise AbsentData(
                f"{self.title}: no folder of the content {content} is on this machine"
                f"{', only ' + ', '.join(others) if others else ''}; set the argument `folder`"
            )
        return None

    def _candidates(self, folder: str | None, content: str | None) -> Iterator[Path]:
        if folder is not None:
            yield path_of(folder)
            return
        if content is not None and (noted := noted_folder(type(self), content)) is not None and noted.is_dir():
            yield noted
        base = data_folder()
        yield from (base / name for name in self.folders if base is not None and (base / name).is_dir())
        if (own := self.default()) is not None:
            yield own

    def _whole(self, root: Path) -> Parts:
        try:
            parts = self.split(root)
        except (OSError, RuntimeError) as error:  # a name that is too long, a link to itself
            reason = getattr(error, "strerror", None) or error
            raise AssetError(
                f"{shortened(str(root), 80)}: cannot be read ({reason}); set folder to a folder of images"
            ) from error
        for split, part in parts.items():
            if len(part.sound) == 0:
                bad = f", only {len(part.damaged)} damaged: {some(part.damaged)}" if part.damaged else ""
                over = skipped_files(passed(parts), all_of_them=True)
                over = f"; skipped: {over}, which are not read; convert or unpack them" if over else ""
                raise AssetError(f"{root}: the {WORDS[split]} split has no image that can be used{bad}{over}")
        return parts

    def _refuse(self) -> None:
        assert self.parts is not None
        for split, part in self.parts.items():
            if self.damaged == "refuse" and (bad := part.damaged):
                raise AssetError(
                    f"{part.index.root}: {len(bad)} of {len(part.positions)} {WORDS[split]} images cannot be used: "
                    f"{some(bad)}; repair or remove them, or leave them out with `damaged: skip`"
                )

    def _left_out(self) -> Iterator[str]:
        assert self.parts is not None
        for split, part in self.parts.items():
            if bad := part.damaged:
                yield (
                    f"{self.title}: {len(bad)} of {len(part.positions)} {WORDS[split]} images cannot be used and are "
                    f"left out: {some(bad)}."
                )

    def _skipped(self) -> Iterator[str]:
        assert self.parts is not None
        if over := skipped_files(passed(self.parts)):
            yield (f"{self.title}: skipped, since only images, .tar and lmdb are read: {over}; convert or unpack them.")
