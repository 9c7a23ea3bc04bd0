"""What data sets have in common that are folders of image files on the user's machine. Imported without torch.

A run is named by which images it was trained on and measured with, never by where they lay: ``content`` is a digest
over the bytes of all files of both splits, in order. Where a folder of that content lies on this machine is noted in
our cache folder, so that other processes find it. Names of files, containers and folders are no part of it: the same
files in buckets, flat or in tar shards are the same data set.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from vqbench.assets import cache_folder
from vqbench.assets.cache import data_folder
from vqbench.assets.content import replacing
from vqbench.bounds import Bits, Side
from vqbench.dataset import Dataset, Split
from vqbench.datasets import _decode
from vqbench.datasets._index import Index, refresh
from vqbench.datasets._scan import passed_over
from vqbench.errors import AbsentData, AssetError, UsageError
from vqbench.system.files import MB, read_regular
from vqbench.system.paths import path_of

if TYPE_CHECKING:
    from vqbench.datasets._files import FileImages

SOME = 5  # names of damaged files in one sentence
WORDS: dict[Split, str] = {"train": "training", "test": "test"}


@dataclass
class SplitFiles:
    """One split: the positions (N,) of its files in an index, in order, damaged ones included."""

    index: Index
    positions: np.ndarray

    @property
    def sound(self) -> np.ndarray:
        """The positions of what can be used."""
        bad = np.array(sorted(self.index.damaged), np.int64)
        return self.positions[~np.isin(self.positions, bad)]

    @property
    def damaged(self) -> list[str]:
        """The names of what cannot be used, each with the reason."""
        return [
            f"{shortened(self.index.names[position])} ({self.index.damaged[position][:100]})"
            for position in self.positions.tolist()
            if position in self.index.damaged
        ]


Parts = dict[Split, SplitFiles]


class Photographs(Dataset):
    """Image files of any size and kind, resized by their shorter side to ``size`` and cut to a square.

    ``folder``: where they lie; without it, a folder of the data set's name in ``VQBENCH_DATA``. ``damaged``: what to do
    about files that cannot be decoded to the end: ``refuse`` names them and stops, ``skip`` leaves them out, which
    stands below every table. ``crop``: where training images are cut out, ``centre`` or ``random``; ``flip``: whether
    half of them are mirrored; test images are neither. ``content``: the digest of the files, found by itself; given,
    it must be that of the folder. ``bits``: of how many bits (8 to 16) the levels of deep grey images are, those of
    more than 8 bits; without it, images that would come out near black are refused by name.
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
        if bits is not None and not 8 <= bits <= _decode.WORD:
            raise UsageError(f"{self.title}: images of {bits} bits are not read; give bits from 8 to {_decode.WORD}")
        if size < 8:
            raise UsageError(f"{self.title}: images of {size} pixels are too small; give a size of 8 or more")
        self.size = size  # type: ignore[misc]  # known only with its arguments, as are counts, holdout and notes
        self.crop, self.flip, self.damaged = crop, flip, damaged
        self.bits = bits or _decode.WORD
        self.parts = self._found(folder, content)
        self.content = content
        if self.parts is not None:
            self._refuse()
            self._require_bits(chosen=bits is not None or content is not None)  # what a content names was accepted
            self.content = _content(self.parts)
            self.counts = {split: len(part.sound) for split, part in self.parts.items()}  # type: ignore[misc]  # likewise
            self.holdout = min(type(self).holdout, self.counts["train"] // 10)  # type: ignore[misc]  # likewise
            self.notes = (*self._left_out(), *self._passed_over(), *self._dim(), *self.remarks())  # type: ignore[misc]  # likewise

    # What each data set has of its own -------------------------------------------------------------------------------

    def split(self, root: Path) -> Parts:
        """The splits of the folder ``root``. Raises AssetError where it is not laid out as this data set is."""
        raise NotImplementedError

    def default(self) -> Path | None:
        """The folder where the user names none and ``VQBENCH_DATA`` has none."""
        return None

    def remarks(self) -> Iterator[str]:
        """What else stands below a table, such as images that are fewer than the official ones."""
        return iter(())

    def fewer(self, official: Mapping[Split, int]) -> Iterator[str]:
        """A sentence for each split that has not the official number of images."""
        for split, count in official.items():
            if self.counts[split] != count:
                yield f"{self.title}: {self.counts[split]:,} {WORDS[split]} images are used, of {count:,}."

    # The contract ----------------------------------------------------------------------------------------------------

    @classmethod
    def canonical_args(cls, args: Mapping[str, Any]) -> dict[str, Any]:
        """The folder gives way to the digest of its content; None where nothing is on this machine.

        ``bits`` came later, and is none of the arguments where they are 16, as they were taken before.
        """
        here = cls(**args)
        named = {name: value for name, value in args.items() if name != "bits" or value not in (None, _decode.WORD)}
        return {**named, "folder": None, "content": here.content}

    @classmethod
    def refresh(cls, args: Mapping[str, Any]) -> None:
        """Compare the stamps of all image files, so that what was rewritten in place is known by its new content."""
        content, folder = args.get("content"), args.get("folder")
        if folder is None and content is not None and (noted := _noted(cls, content)) is not None:
            folder = str(noted)
        try:
            here = cls(**{**args, "folder": folder, "content": None, "damaged": "skip", "bits": _decode.WORD})
        except AssetError:
            return  # there is no such folder, or nothing sound in it, which whoever opens it is told
        for part in (here.parts or {}).values():
            refresh(part.index)

    def pixels(self, split: Split) -> FileImages:
        """The images of ``split``, read from their files. Raises AssetError where there is no folder."""
        from vqbench.datasets._files import FileImages

        part = self._part(split)
        varied = split == "train"
        return FileImages(
            part.index, part.sound, self.size, *(varied and self.crop == "random", varied and self.flip), self.bits
        )

    def digest(self, split: Split) -> str:
        """Sha256 of the files' digests in order, of the size, and of the version of decoding and resizing."""
        part = self._part(split)
        bits = "" if self.bits == _decode.WORD else f":{self.bits}"
        what = f"{part.index.digests[part.sound].tobytes().hex()}:{self.size}:{_decode.VERSION}{bits}"
        return hashlib.sha256(what.encode()).hexdigest()

    def _part(self, split: Split) -> SplitFiles:
        if self.parts is None:
            places = " or ".join(self.folders)
            raise AssetError(
                f"{self.title} is not on this machine: name its folder by the argument `folder`, or put it as {places} "
                "into the folder that VQBENCH_DATA names"
            )
        return self.parts[split]

    # Finding it ------------------------------------------------------------------------------------------------------

    def _found(self, folder: str | None, content: str | None) -> Parts | None:
        """The splits of the first folder that there is and, where ``content`` is given, of which that is the digest.

        None where there is no folder at all. Raises AssetError where there are only others.
        """
        others = []
        for root in self._candidates(folder, content):
            parts = self._whole(root)
            found = _content(parts)
            if content in (None, found):
                _note(type(self), found, root)
                return parts
            others.append(f"{root} (content {found})")
        if content is not None:
            raise AbsentData(
                f"{self.title}: no folder of the content {content} is on this machine"
                f"{', only ' + ', '.join(others) if others else ''}; name it by the argument `folder`"
            )
        return None

    def _candidates(self, folder: str | None, content: str | None) -> Iterator[Path]:
        if folder is not None:
            yield path_of(folder)
            return
        if content is not None and (noted := _noted(type(self), content)) is not None and noted.is_dir():
            yield noted
        base = data_folder()
        yield from (base / name for name in self.folders if base is not None and (base / name).is_dir())
        if (own := self.default()) is not None:
            yield own

    def _whole(self, root: Path) -> Parts:
        try:
            parts = self.split(root)
        except (OSError, RuntimeError) as error:  # a name that is too long, a link to itself
            why = getattr(error, "strerror", None) or error
            raise AssetError(f"{shortened(str(root), 80)}: cannot be read ({why}); name a folder of images") from error
        for split, part in parts.items():
            if len(part.sound) == 0:
                bad = f", only {len(part.damaged)} damaged: {_some(part.damaged)}" if part.damaged else ""
                over = passed_over(_passed(parts), all_of_them=True)
                over = f"; passed over: {over}, of which none is read; convert or unpack them" if over else ""
                raise AssetError(f"{root}: the {WORDS[split]} split has no image that can be used{bad}{over}")
        return parts

    def _refuse(self) -> None:
        assert self.parts is not None
        for split, part in self.parts.items():
            if self.damaged == "refuse" and (bad := part.damaged):
                raise AssetError(
                    f"{part.index.root}: {len(bad)} of {len(part.positions)} {WORDS[split]} images cannot be used: "
                    f"{_some(bad)}; mend or remove them, or leave them out with `damaged: skip`"
                )

    def _left_out(self) -> Iterator[str]:
        assert self.parts is not None
        for split, part in self.parts.items():
            if bad := part.damaged:
                yield (
                    f"{self.title}: {len(bad)} of {len(part.positions)} {WORDS[split]} images cannot be used and are "
                    f"left out: {_some(bad)}."
                )

    def _passed_over(self) -> Iterator[str]:
        assert self.parts is not None
        if over := passed_over(_passed(self.parts)):
            yield (
                f"{self.title}: passed over, since only images, .tar and lmdb are read: {over}; convert or unpack them."
            )

    # Deep images, of more than 8 bits a channel ----------------------------------------------------------------------

    def _deep(self, colour: bool) -> list[tuple[int, str]]:
        """Highest level and name of each deep image that can be used and is not all black, the brightest first."""
        assert self.parts is not None
        found = []
        for part in self.parts.values():
            sound, index = part.sound, part.index
            chosen = sound[(index.peaks[sound] > 0) & (index.colours[sound] == colour)]
            found += [(int(index.peaks[each]), index.names[each]) for each in chosen.tolist()]
        return sorted(found, key=lambda each: -each[0])

    def _require_bits(self, chosen: bool) -> None:
        """Raises AssetError for deep images that would be near black, or brighter than white, by ``bits``."""
        grey, colours = self._deep(False), self._deep(True)
        if beyond := [each for each in grey if each[0] >= 2**self.bits]:
            raise AssetError(
                f"{self.title}: {_levels(beyond)}, beyond `bits: {self.bits}`; give the bits that the images have"
            )
        if not chosen and (dim := _dim(grey, _decode.WORD)):
            bits = next(each for each in (8, 10, 12, 14, 15) if dim[0][0] < 2**each)
            raise AssetError(
                f"{self.title}: {_levels(dim)}, so would be near black as images of 16 bits; set `bits: {bits}` if "
                f"all images of more than 8 bits have {bits}, or `bits: 16` to take them as they are"
            )
        if (not chosen or self.bits < _decode.WORD) and (dim := _dim(colours, _decode.WORD)):
            raise AssetError(
                f"{self.title}: {_levels(dim)}, so would be near black: of 16 bits a colour the upper 8 are read; "
                "convert them to 8 bits, or set `bits: 16` to take them as they are"
            )

    def _dim(self) -> Iterator[str]:
        """That images are near black under the bits which were given, where some are."""
        dark = [each for each in self._deep(False) if each[0] < 2 ** (self.bits - 4)]
        if dark and self.bits < _decode.WORD:
            yield f"{self.title}: {_levels(dark)}, near black under `bits: {self.bits}`."


def _dim(deep: list[tuple[int, str]], bits: int) -> list[tuple[int, str]]:
    """Those that are no images of ``bits`` bits by their levels: all if none has the upper half, else the near black.

    An image whose levels stay below a sixteenth of white has been stored with fewer bits, or shows nothing.
    """
    bound = 2 ** (bits - 1) if deep and deep[0][0] < 2 ** (bits - 1) else 2 ** (bits - 4)
    return [each for each in deep if each[0] < bound]


def _levels(deep: list[tuple[int, str]]) -> str:
    """A clause on images and their highest levels."""
    named = [f"{shortened(name)} up to {peak}" for peak, name in deep[:SOME]]
    more = f" and {len(deep) - SOME:,} more" if len(deep) > SOME else ""
    return f"{len(deep):,} images hold levels {', '.join(named)}{more}"


def _passed(parts: Parts) -> Counter[str]:
    """What was passed over in the folders of all splits, each once."""
    indexes = {str(part.index.root): part.index for part in parts.values()}
    return sum((Counter(index.passed) for index in indexes.values()), Counter())


def shortened(name: str, length: int = 60) -> str:
    """A long name, cut in its middle."""
    return name if len(name) <= length else f"{name[: length // 2 - 1]}...{name[-length // 2 + 2 :]}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:SOME]) + (f" and {len(names) - SOME} more" if len(names) > SOME else "")


def _content(parts: Parts) -> str:
    """32 hexadecimal digits that name the usable files of both splits, in order."""
    sha = hashlib.sha256()
    for split in ("train", "test"):
        part = parts[split]
        sha.update(f"{split}:{len(part.sound)}:".encode() + part.index.digests[part.sound].tobytes())
    return sha.hexdigest()[:32]


def _place(cls: type, content: str) -> Path:
    return cache_folder() / "pictures" / f"{cls.__name__.lower()}-{content}.place"


def _note(cls: type, content: str, root: Path) -> None:
    """Keep where a content lies. Raises AssetError where that cannot be written, since other processes need it."""
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


def _noted(cls: type, content: str) -> Path | None:
    with suppress(OSError):
        return Path(os.fsdecode(read_regular(_place(cls, content), MB)))
    return None
