"""Image files as an input: in folders, tar shards and lmdb environments."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqbench.assets import image_file, image_scan, lmdb_file
from vqbench.assets.image_scan import ImageFile
from vqbench.errors import UsageError, counted
from vqbench.measuring.inputs.image_input import FORMS, DamagedImage, InputImage
from vqbench.measuring.inputs.preparation import Preparation


class ImageFolder:
    """Image files below a folder, in a tar archive, or in an lmdb environment.

    They are decoded to RGB as data sets do: upright, on white where transparent, deep images to 8 bits. With a
    ``preparation`` they are then cropped or resized.
    """

    def __init__(self, path: Path, preparation: Preparation | None = None) -> None:
        self.path, self.preparation = str(path), preparation
        self.root = path if path.is_dir() else path.parent
        self.entries, passed, hidden = _scanned(path)
        inside = any(".tar/" in entry.name for entry in self.entries)
        lmdb = path.is_dir() and (path / lmdb_file.FILE).is_file()
        self.kind = "lmdb environment" if lmdb else "tar shards" if inside else "folder"
        if not self.entries:
            skipped = image_scan.skipped_files(passed, all_of_them=True)
            raise UsageError(f"{path}: no image is in it{f', only {skipped}' if skipped else ''}; give {FORMS}")
        self.names = [_match_name(entry) for entry in self.entries]
        self.notes = [_not_read(path, passed, hidden)] if hidden or image_scan.skipped_files(passed) else []
        _require_distinct(self, path)

    def __len__(self) -> int:
        return len(self.entries)

    def read(self, positions: Sequence[int]) -> list[InputImage | DamagedImage]:
        return [self._one(self.entries[position]) for position in positions]

    def is_float(self) -> bool:
        return False

    def stamp(self) -> list[Any]:
        files = [[entry.name, entry.size, entry.stamp, entry.offset] for entry in self.entries]
        return [str(self.root.resolve()), str(self.preparation), image_file.VERSION, files]

    def _one(self, entry: ImageFile) -> InputImage | DamagedImage:
        try:
            data = image_scan.content(self.root, entry.name, entry.size, entry.offset)
            decoded = image_file.examined(data)
            image = decoded.image if self.preparation is None else self.preparation.apply(decoded.image)
        except (OSError, image_file.Unreadable) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            return DamagedImage(f"{self.root / entry.name}", reason)
        levels = np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))  # (3, H, W)
        return InputImage(levels, decoded.grey)


def _scanned(path: Path) -> tuple[list[ImageFile], Counter[str], int]:
    """Return the images at ``path``, and the numbers of other files.

    These are by suffix, then the hidden ones.
    """
    if path.is_dir():
        scan = image_scan.scan(path)
        return scan.entries, scan.passed, scan.hidden
    passed: Counter[str] = Counter()
    entries = image_scan.tar_entries(path.parent, path.name, image_scan.stamp(os.stat(path)), passed)
    return sorted(entries, key=lambda entry: entry.name), passed, 0


def _match_name(entry: ImageFile) -> str:
    """Return the name that images are matched by, in one Unicode form.

    The path below the folder without its last suffix, so that ``a.b.png`` is ``a.b``. In tar archives, as WebDataset
    has it, the member's path up to the first dot of its file name. In lmdb environments, the key without the suffix of
    an image. Bytes that are not UTF-8 are replaced by codes, since values per image are stored by this name.
    """
    name = unicodedata.normalize("NFC", entry.name).encode(errors="backslashreplace").decode()
    _, inside, member = name.partition(".tar/")
    if inside and entry.offset:
        folder, slash, file = member.removeprefix("./").rpartition("/")
        return folder + slash + file.partition(".")[0]
    return name.rpartition(".")[0] if image_file.is_image(name) else name


def _require_distinct(images: ImageFolder, path: Path) -> None:
    """Raise UsageError for two files that would be matched by one name."""
    seen: dict[str, str] = {}
    for name, entry in zip(images.names, images.entries, strict=True):
        if name in seen:
            raise UsageError(
                f"{path}: {seen[name]} and {entry.name} have one name but for the suffix; leave one of them"
            )
        seen[name] = entry.name


def _not_read(path: Path, passed: Counter[str], hidden: int) -> str:
    others = image_scan.skipped_files(passed)
    hidden_files = counted(hidden, "hidden file") if hidden else ""
    return f"Not read in {path}: {', '.join(filter(None, [others, hidden_files]))}."
