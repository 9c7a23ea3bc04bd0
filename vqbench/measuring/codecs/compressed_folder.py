"""Write the images of an input as compressed files within a number of bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from vqbench.errors import UsageError
from vqbench.images import read_ahead, workers
from vqbench.measuring.codecs.image_codecs import CODECS, ImageCodec
from vqbench.measuring.codecs.target_rate import Compressed, compressed
from vqbench.measuring.inputs.image_input import DamagedImage, ImageInput, InputImage
from vqbench.measuring.kept_measurement import key_of
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

PART = 8  # images that one thread compresses at a time
FACTS = "codec.json"  # written last: a folder with it is whole


@dataclass(frozen=True)
class RateTarget:
    """What files may need: bits an image, of whole files or of their payload."""

    codec: str
    bits: float
    headers: bool

    @property
    def coder(self) -> ImageCodec:
        return CODECS[self.codec]

    @property
    def label(self) -> str:
        """A name for tables, such as ``WebP 512 bits``."""
        return f"{self.coder.title} {self.bits:,.0f} bits{'' if self.headers else ', no headers'}"

    @property
    def folder(self) -> str:
        return f"{self.codec}-{self.bits:.0f}{'' if self.headers else '-payload'}"

    @property
    def counted(self) -> str:
        return "whole files" if self.headers else self.coder.payload_described


@dataclass(frozen=True)
class CompressedFolder:
    """The files of one target, and what they need."""

    target: RateTarget
    folder: Path
    bits: list[int]  # of each image, of what the target counts
    file_bits: list[int]  # likewise, of whole files
    settings: list[int]
    over: int  # images whose smallest file needs more than the target
    stamp: str = field(repr=False)  # of originals, target and version of Pillow

    @property
    def mean_bits(self) -> float:
        return sum(self.bits) / len(self.bits)

    @property
    def reached(self) -> bool:
        """Whether an image needs at most the target, on average."""
        return self.mean_bits <= self.target.bits

    def described(self) -> dict[str, Any]:
        """Return the rate as the record of a row has it."""
        low, high = min(self.settings), max(self.settings)
        coder = self.target.coder
        return {
            "bits_per_image": self.mean_bits,
            "counted": self.target.counted,
            "codec": f"{coder.title}: {coder.described}; settings {low} to {high}, chosen per image; "
            f"Pillow {PIL.__version__}",
        }


def compress(
    originals: ImageInput, target: RateTarget, root: Path, progress: Callable[[int, int], None]
) -> CompressedFolder:
    """Compress all images to files below ``root``.

    Files of an earlier call are used. Each image has the highest setting within the target. Files have the names of the
    originals, or numbers. Where the target is out of reach on average, files are deleted.

    Raises:
        UsageError: The folder has other files; a codec that this Pillow lacks; images that are floats.
        DamagedImage: An image that cannot be decoded.
    """
    if not target.coder.available:
        raise UsageError(f"{target.coder.title}: Pillow {PIL.__version__} was built without it; leave it out")
    if originals.is_float():
        raise UsageError(f"{originals.path}: codecs take levels of 8 bits, and these are floats; give image files")
    folder = root / target.folder
    stamp = key_of([originals.stamp(), asdict(target), PIL.__version__])
    if (done := _finished(folder, target, stamp)) is not None:
        return done
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder}: has other files, or unfinished ones; delete it, or give another --output")
    names = originals.names or [f"{number:06}" for number in range(len(originals))]
    bits, file_bits, settings, over = [], [], [], 0
    for name, each in zip(names, _compressed(originals, target), strict=True):
        path = folder / f"{name}.{target.coder.suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(each.data)
        bits.append(each.bits)
        file_bits.append(8 * len(each.data))
        settings.append(each.setting)
        over += each.over
        progress(len(bits), len(originals))
    result = CompressedFolder(target, folder, bits, file_bits, settings, over, stamp)
    if not result.reached:
        shutil.rmtree(folder)
    facts = {name: value for name, value in asdict(result).items() if name not in ("target", "folder")}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / FACTS, json.dumps(facts).encode())
    return result


def _compressed(originals: ImageInput, target: RateTarget) -> Iterator[Compressed]:
    """Yield the images as files, in their order, computed ahead by threads."""

    def part(start: int) -> list[Compressed]:
        images = originals.read(range(start, min(start + PART, len(originals))))
        return [compressed(_image(each), target.coder, target.bits, target.headers) for each in images]

    for files in read_ahead(range(0, len(originals), PART), part, workers()):
        yield from files


def _image(image: InputImage | DamagedImage) -> Image.Image:
    if isinstance(image, DamagedImage):
        raise image
    levels = image.levels[0] if image.grey else image.levels.transpose(1, 2, 0)
    return Image.fromarray(levels)


def _finished(folder: Path, target: RateTarget, stamp: str) -> CompressedFolder | None:
    """Return what an earlier call has written of the same images; None without it."""
    try:
        facts = stored_files.json_of(folder / FACTS)
        return CompressedFolder(target, folder, **facts) if facts["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
