"""One image file to RGB pixels of 8 bits, whatever the world has put into it. Needs no torch."""

from __future__ import annotations

import io
import threading
import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

VERSION = 2  # raised by hand when a change here changes pixels, or which files are damaged
MAX_PIXELS = 2**27  # what a file may unfold to: 0.4 GB of RGB
LARGE = 2**24  # pixels above which one image is decoded at a time, or all threads together would fill the memory
MAX_ASPECT = 16  # a longer strip is cut to its middle before it is resized, or the resized one would be huge
WORD = 16  # bits of a deep image, unless the user says otherwise

# What is opened, whatever a file is called: no format for which Pillow starts another program (EPS: Ghostscript).
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
    """Why a file is no image that can be used: half a sentence."""


@dataclass(frozen=True)
class Decoded:
    """An image, upright, in RGB, and what was known of it before its levels went to 8 bits."""

    image: Image.Image
    peak: int = -1  # the highest level of a deep image, one of more than 8 bits a channel; -1: it is not deep
    colour: bool = False  # it is deep and has colours, of whose levels Pillow keeps the upper 8 bits of 16


def decode(data: bytes, bits: int = WORD) -> Image.Image:
    """The image in a file, as :func:`examined` has it."""
    return examined(data, bits).image


def examined(data: bytes, bits: int = WORD) -> Decoded:
    """The image in a file: mode RGB, upright as its EXIF orientation says. Raises Unreadable.

    Of an animation, the first frame. Grey is tiled; levels of ``bits`` bits in deep grey images go to 8, by
    v * 255 / (2 ** bits - 1), rounded; palettes, CMYK and other colour spaces are converted as Pillow does, without
    colour profiles; what is transparent lies on white.
    """
    if not data:
        raise Unreadable("empty")
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a plugin may have set it, and half an image would pass as a whole one
    try:
        with Image.open(io.BytesIO(data), formats=_formats()) as picture:
            _require_size(picture)
            with _one_at_a_time if picture.width * picture.height > LARGE else nullcontext():
                deep = ";16" in str(getattr(picture, "tile", ""))
                picture.load()
                _require_size(picture)  # the image within an icon may be another than its head says
                return _rgb(_upright(picture), deep, bits)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        kind = next((kind for start, kind in _REFUSED.items() if data.startswith(start)), None)
        raise Unreadable(f"{kind}, which is not opened" if kind else "not an image that Pillow knows") from None
    except Image.DecompressionBombError:
        raise Unreadable("more pixels than Pillow takes for honest") from None
    except MemoryError:
        raise Unreadable("does not fit into memory") from None
    except Exception as error:  # a broken file makes a decoder fail in any way; the name of the file goes with it
        raise Unreadable(" ".join(str(error).split())[:200] or type(error).__name__) from error


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that this Pillow was built with."""
    Image.init()
    return tuple(each for each in FORMATS if each in Image.OPEN)


def _require_size(picture: Image.Image) -> None:
    if picture.width * picture.height > MAX_PIXELS:
        raise Unreadable(f"{picture.width}x{picture.height} pixels, more than {MAX_PIXELS:,}")


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # a broken EXIF block says nothing of how the camera was held, and its pixels are whole
        return picture


def _rgb(picture: Image.Image, deep: bool, bits: int) -> Decoded:
    """Any mode of Pillow's to RGB; ``deep``: the file has 16 bits a channel."""
    if picture.mode == "F":
        raise Unreadable("floating-point pixels, whose black and white nobody states")
    if picture.mode.startswith("I"):
        return _from_words(np.asarray(picture), picture.info.get("transparency"), bits)
    plain = _flattened(picture)
    if not deep:
        return Decoded(plain)
    return Decoded(plain, 257 * max(high for _, high in _opaque_extrema(picture)), True)


def _flattened(picture: Image.Image) -> Image.Image:
    """An image of 8 bits a channel to RGB, on white where it is transparent."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("LA").convert("RGBA") if picture.mode == "La" else picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _opaque_extrema(picture: Image.Image) -> list[tuple[int, int]]:
    """Lowest and highest level of each channel but alpha."""
    bands = [band for name, band in zip(picture.getbands(), picture.split(), strict=True) if name not in "Aa"]
    return [band.getextrema() for band in bands]  # type: ignore[misc]  # of one band, a pair


def _from_words(levels: np.ndarray, transparent: object, bits: int) -> Decoded:
    """Grey (H, W) of more than 8 bits to RGB; Pillow's own conversion would cut it off at 255."""
    low, high, top = int(levels.min()), int(levels.max()), 2**bits - 1
    if low < 0 or high > top:
        raise Unreadable(f"levels from {low} to {high}, beyond {bits} bits")
    table = (np.arange(top + 1) / (top / 255)).round().astype(np.uint8)
    grey = table[levels]
    if isinstance(transparent, int):
        grey[levels == transparent] = 255
    return Decoded(Image.fromarray(grey).convert("RGB"), high)


def fit(picture: Image.Image, size: int, across: float = 0.5, down: float = 0.5, mirror: bool = False) -> np.ndarray:
    """The image at ``size``: (3, size, size) uint8. First the shorter side is resized to it, then the longer one cut.

    Resized by Pillow's bicubic filter, which widens with the reduction (antialiasing) and works in 8 bits. ``across``
    and ``down`` in [0, 1] say where the square is cut out, 0.5 being the centre; ``mirror`` turns left and right.
    """
    picture = _shortened(picture)
    width, height = picture.size
    scale = size / min(width, height)
    wide, high = max(size, round(width * scale)), max(size, round(height * scale))
    if (wide, high) != picture.size:
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
    left, top = round((wide - size) * across), round((high - size) * down)
    levels = np.asarray(picture)[top : top + size, left : left + size]  # (size, size, 3)
    return np.ascontiguousarray((levels[:, ::-1] if mirror else levels).transpose(2, 0, 1))


def _shortened(picture: Image.Image) -> Image.Image:
    """The middle of a strip."""
    width, height = picture.size
    wide, high = min(width, MAX_ASPECT * height), min(height, MAX_ASPECT * width)
    left, top = (width - wide) // 2, (height - high) // 2
    return picture if (wide, high) == (width, height) else picture.crop((left, top, left + wide, top + high))
