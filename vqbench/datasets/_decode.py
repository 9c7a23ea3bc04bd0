"""One picture file to RGB pixels of 8 bits, whatever the world has put into it. Needs no torch."""

from __future__ import annotations

import io
import warnings

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

VERSION = 1  # raised by hand when a change here changes pixels, or which files are damaged
MAX_PIXELS = 2**27  # what a file may unfold to: 0.4 GB of RGB
MAX_ASPECT = 16  # a longer strip is cut to its middle before it is resized, or the resized one would be huge

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # MAX_PIXELS is the limit here
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd but readable files, of which ImageNet alone has hundreds


class Unreadable(ValueError):
    """Why a file is no picture that can be used: half a sentence."""


def decode(data: bytes) -> Image.Image:
    """The picture in a file: mode RGB, upright as its EXIF orientation says. Raises Unreadable.

    Of an animation, the first frame. Grey is tiled; 16 bits go to 8 by v / 257, rounded; palettes, CMYK and other
    colour spaces are converted as Pillow does, without colour profiles; what is transparent lies on white.
    """
    if not data:
        raise Unreadable("empty")
    ImageFile.LOAD_TRUNCATED_IMAGES = False  # a plugin may have set it, and half a picture would pass as a whole one
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Unreadable(f"{picture.width}x{picture.height} pixels, more than {MAX_PIXELS:,}")
            picture.load()
            return _rgb(_upright(picture))
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("not a picture that Pillow knows") from None
    except Image.DecompressionBombError:
        raise Unreadable("more pixels than Pillow takes for honest") from None
    except MemoryError:
        raise Unreadable("does not fit into memory") from None
    except Exception as error:  # a broken file makes a decoder fail in any way; the name of the file goes with it
        raise Unreadable(" ".join(str(error).split()) or type(error).__name__) from error


def _upright(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # a broken EXIF block says nothing of how the camera was held, and its pixels are whole
        return picture


def _rgb(picture: Image.Image) -> Image.Image:
    """Any mode of Pillow's to RGB."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode == "F":
        raise Unreadable("floating-point pixels, whose black and white nobody states")
    if picture.mode.startswith("I"):
        return _from_16_bits(np.asarray(picture))
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture).convert("RGB")
    return picture.convert("RGB")


def _from_16_bits(levels: np.ndarray) -> Image.Image:
    """Grey (H, W) in 0 ... 65535 to RGB; Pillow's own conversion would cut it off at 255."""
    if levels.min() < 0 or levels.max() > 65535:
        raise Unreadable(f"levels from {levels.min()} to {levels.max()}, beyond 16 bits")
    return Image.fromarray((levels.astype(np.float64) / 257).round().astype(np.uint8)).convert("RGB")


def fit(picture: Image.Image, size: int, across: float = 0.5, down: float = 0.5, mirror: bool = False) -> np.ndarray:
    """The picture at ``size``: (3, size, size) uint8. First the shorter side is resized to it, then the longer one cut.

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
