"""Open an input of images, whatever kind it is of."""

from __future__ import annotations

from pathlib import Path

from vqbench.errors import UsageError
from vqbench.measuring.inputs.array_input import ArrayFile
from vqbench.measuring.inputs.file_input import ImageFolder
from vqbench.measuring.inputs.image_input import FORMS, ImageInput

ARRAYS = (".npy", ".npz", ".pt", ".pth")


def open_input(path: Path, array: str | None = None) -> ImageInput:
    """Open images: a folder, a tar archive, an lmdb environment, or an array.

    ``array`` names one of several in a file. Raises UsageError for anything else, AssetError for unreadable files.
    """
    if not path.exists():
        raise UsageError(f"{path}: no such file or folder; give {FORMS}")
    if path.suffix.lower() in ARRAYS and path.is_file():
        return ArrayFile(path, array)
    if path.is_dir() or path.suffix == ".tar":
        return ImageFolder(path)
    raise UsageError(f"{path}: not read; give {FORMS}")
