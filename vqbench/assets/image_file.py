"""Decode one image file to RGB pixels of 8 bits. Must not import torch."""

from __future__ import annotations

import io
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

VERSION = 2  # raised by hand when a change here changes pixels, or which files are damaged
MAX_PIXELS = 2**27  # of one file at most: 0.4 GB of RGB
LARGE = 2**24  # pixels above which one image is decoded at a time, so that threads do not fill the memory together
MAX_ASPECT = 16  # a longer strip is cut to its middle before it is resized, which would otherwise make it huge
WORD = 16  # bits of a deep image by default

SUFFIXES = frozenset(
    {"jpg", "jpeg", "jpe", "jfif", "png", "apng", "webp", "gif", "bmp", "dib", "tif", "tiff", "avif", "jp2", "j2k"}
    | {"ppm", "pgm", "pbm", "pnm", "tga", "ico", "pcx", "mpo"}
)
GREY = frozenset({"1", "L", "LA", "La"})  # Pillow's modes of 8 bits or fewer
# Formats that are opened, whatever a file's name: none for which Pillow starts another program (EPS: Ghostscript).
FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "GIF", "TIFF", "BMP", "DIB", "PPM", "AVIF", "JPEG2000", "ICO", "PCX", "TGA"),
)
_REFUSED = {
    b"%!PS": "PostScript",
    b"\xc5\xd0\xd3\xc6": "PostScript",
    b"%PDF": "PDF",
    b"8BPS": "Photoshop",
}
_one_at_a_time = threading.Lock()

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd but readable files, of which ImageNet alone has hundreds


class Unreadable(ValueError):
    """The reason why a file cannot be used as an image: a clause."""


@dataclass(frozen=True)
class Decoded:
    """An upright RGB image, and its depth before the conversion to 8 bits."""

    image: Image.Image
    peak: int = -1  # the highest level of a deep image (more than 8 bits per channel); -1: not deep
    colour: bool = False  # deep, with colours, of whose 16 bits Pillow keeps the upper 8
    grey: bool = False  # stored with one channel besides transparency


def is_image(name: str) -> bool:
    """Return whether a file is an image by its name. Hidden files are not."""
    last = name.rpartition("/")[2]
    return not last.startswith(".") and last.rpartition(".")[2].lower() in SUFFIXES and "." in last


def decode(data: bytes, bits: int = WORD) -> Image.Image:
    """Return the image in a file as :func:`examined` does."""
    return examined(data, bits).image


def examined(data: bytes, bits: int = WORD) -> Decoded:
    """Decode an image file to RGB, upright by its EXIF orientation.

    Of an animation, the first frame. Grey is tiled; levels of ``bits`` bits in deep grey images are converted to 8 by
    v * 255 / (2 ** bits - 1), rounded; palettes, CMYK and other colour spaces are converted as Pillow does, without
    colour profiles; transparent pixels are drawn on white. Raises Unreadable.
    """
    if not data:
        raise Unreadable("empty")
    ImageFile.LOAD_TRUNCATED_IMAGES = (
        False  # a plugin may have set it, and half an image would be decoded as a whole one
    )
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as image:
            _require_size(image)
            with _one_at_a_time if image.width * image.height > LARGE else nullcontext():
                deep = ";16" in str(getattr(image, "tile", ""))
                image.load()
                _require_size(image)  # the image within an icon may be larger than its header says
                grey = image.mode in GREY or image.mode.startswith("I")
                return replace(_rgb(_upright(image), deep, bits), grey=grey)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        kind = next((kind for start, kind in _REFUSED.items() if data.startswith(start)), None)
        raise Unreadable(f"{kind}, which is not opened" if kind else "not an image that Pillow can read") from None
    except Image.DecompressionBombError:
        raise Unreadable("more pixels than Pillow's limit") from None
    except MemoryError:
        raise Unreadable("does not fit into memory") from None
    except Exception as error:  # a damaged file can fail in any way; the caller adds the file's name
        raise Unreadable(" ".join(str(error).split())[:200] or type(error).__name__) from error


def stored_shape(data: bytes) -> tuple[int, int]:
    """Return (height, width) of an image that can be decoded, as its header has them."""
    with Image.open(io.BytesIO(data), formats=_formats()) as image:
        return image.height, image.width


@cache
def _formats() -> tuple[str, ...]:
    """Return those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(each for each in FORMATS if each in Image.OPEN)


def _require_size(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise Unreadable(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block has no orientation, but the pixels are complete
        return image


def _rgb(image: Image.Image, deep: bool, bits: int) -> Decoded:
    """Convert any mode to RGB; ``deep``: the file has 16 bits per channel."""
    if image.mode == "F":
        raise Unreadable("floating-point pixels, whose range is not stated")
    if image.mode.startswith("I"):
        return _from_words(np.asarray(image), image.info.get("transparency"), bits)
    plain = _flattened(image)
    if not deep:
        return Decoded(plain)
    return Decoded(plain, 257 * max(high for _, high in _opaque_extrema(image)), True)


def _flattened(image: Image.Image) -> Image.Image:
    """Convert 8 bits per channel to RGB, on white where it is transparent."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if image.mode == "La" else image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _opaque_extrema(image: Image.Image) -> list[tuple[int, int]]:
    """Return the lowest and highest level of each channel but alpha."""
    bands = [band for name, band in zip(image.getbands(), image.split(), strict=True) if name not in "Aa"]
    return [band.getextrema() for band in bands]  # type: ignore[misc]  # of one band, a pair


def _from_words(levels: np.ndarray, transparent: object, bits: int) -> Decoded:
    """Convert deep grey (H, W) to RGB; Pillow itself would clip it at 255."""
    low, high, top = int(levels.min()), int(levels.max()), 2**bits - 1
    if low < 0 or high > top:
        raise Unreadable(f"levels from {low} to {high}, beyond {bits} bits")
    table = (np.arange(top + 1) / (top / 255)).round().astype(np.uint8)
    grey = table[levels]
    if isinstance(transparent, int):
        grey[levels == transparent] = 255
    return Decoded(Image.fromarray(grey).convert("RGB"), high)


def fit(image: Image.Image, size: int, across: float = 0.5, down: float = 0.5, mirror: bool = False) -> np.ndarray:
    """Resize the shorter side to ``size``, then crop: (3, size, size) uint8.

    Pillow's bicubic filter widens with the reduction (antialiasing) and works in 8 bits. ``across`` and ``down`` in
    [0, 1] are the position of the crop, 0.5 being the centre; ``mirror`` exchanges left and right.
    """
    image = _shortened(image)
    width, height = image.size
    scale = size / min(width, height)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    if (wide, high) != image.size:
        image = image.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = round((wide - size) * across), round((high - size) * down)
    levels = np.asarray(image)[top : top + size, left : left + size]  # (size, size, 3)
    return np.ascontiguousarray((levels[:, ::-1] if mirror else levels).transpose(2, 0, 1))


def _shortened(image: Image.Image) -> Image.Image:
    """Crop a long strip to its middle."""
    width, height = image.size
    wide, high = min(width, MAX_ASPECT * height), min(height, MAX_ASPECT * width)
    left, top = (width - wide) // 2, (height - high) // 2
    return image if (wide, high) == (width, height) else image.crop((left, top, left + wide, top + high))
