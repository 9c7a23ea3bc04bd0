"""Damaged image files, and odd but valid ones; all generated here."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image


def scene(height: int = 40, width: int = 60) -> np.ndarray:
    """A smooth image (H, W, 3) uint8 whose corners differ: red grows to the right, green downwards."""
    down, across = np.mgrid[0:height, 0:width]
    levels = [255 * across / max(width - 1, 1), 255 * down / max(height - 1, 1), np.full((height, width), 128)]
    return np.stack(levels, -1).round().astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain() -> Image.Image:
    return Image.fromarray(scene())


def _png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG file of one zlib stream, written by hand where Pillow would refuse to."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def damaged() -> dict[str, tuple[bytes, str]]:
    """Name -> bytes, and what is said about them. None may be used."""
    jpeg, png = saved(Image.fromarray(_noise()), "JPEG"), saved(Image.fromarray(_noise()), "PNG")
    webp, gif, tiff = saved(plain(), "WEBP"), saved(plain(), "GIF"), saved(plain(), "TIFF")
    bomb = _png(60_000, 60_000, 1, 0, zlib.compress(b"\0" * 1000))
    flipped = bytearray(png)
    flipped[len(png) // 2] ^= 0xFF
    floats = Image.fromarray(np.linspace(-3, 7, 2400, dtype=np.float32).reshape(40, 60))
    deep = Image.fromarray(np.full((40, 60), 1_000_000, np.int32))
    return {
        "empty.jpg": (b"", "empty"),
        "one-byte.png": (b"\x89", "not an image"),
        "text.jpg": (b"404 Not Found\n", "not an image"),
        "page.png": (b"<!DOCTYPE html><html><body>Please log in</body></html>", "not an image"),
        "zeros.jpg": (bytes(5000), "not an image"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n", "not an image"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "header-only.jpg": (jpeg[:300], "truncated|not an image|cannot|broken"),
        "end-missing.jpg": (jpeg[:-40], "truncated"),
        "truncated.png": (png[: len(png) // 2], "truncated"),
        "flipped-bits.png": (bytes(flipped), "."),
        "truncated.webp": (webp[: len(webp) // 2], "."),
        "truncated.gif": (gif[: len(gif) // 2], "."),
        "truncated.tif": (tiff[: len(tiff) // 2], "."),
        "bomb.png": (bomb, "pixels"),
        "floats.tif": (saved(floats, "TIFF"), "floating-point"),
        "beyond-16-bits.tif": (saved(deep, "TIFF"), "beyond 16 bits"),
        "no-pixels.png": (_png(0, 0, 8, 2, zlib.compress(b"")), "."),
        "short-data.png": (_png(64, 64, 8, 2, zlib.compress(b"\0" * 10)), "."),
        "text.gif": (b"GIF89a", "."),
    }


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def odd() -> dict[str, bytes]:
    """Name -> bytes of images that are whole and show :func:`scene`, by its colours or by its grey."""
    image, grey = plain(), plain().convert("L")
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright: the rows of the file are the columns of the image
    deep = (np.asarray(grey).astype(np.uint16) * 257).astype(np.uint16)
    alpha = Image.merge("RGBA", (*image.split(), Image.new("L", image.size, 255)))
    frames = [Image.new("RGB", image.size, colour) for colour in ("black", "white")]
    animated = {"save_all": True, "append_images": frames, "duration": 50}
    transparent = image.convert("P")
    return {
        "progressive.jpg": saved(image, "JPEG", progressive=True, quality=95),
        "cmyk.jpg": saved(image.convert("CMYK"), "JPEG", quality=95),
        "grey.jpg": saved(grey, "JPEG", quality=95),
        "upright.jpg": saved(image.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=95, exif=turned),
        "broken-exif.jpg": saved(image, "JPEG", quality=95, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff"),
        "rubbish-behind.jpg": saved(image, "JPEG", quality=95) + b"\0" * 1000,
        "named-wrongly.jpg": saved(image, "PNG"),
        "UPPER.JPEG": saved(image, "JPEG", quality=95),
        "palette.png": saved(image.quantize(256), "PNG"),
        "palette-transparent.png": saved(transparent, "PNG", transparency=bytes([255] * 256)),
        "grey.png": saved(grey, "PNG"),
        "grey-alpha.png": saved(Image.merge("LA", (grey, Image.new("L", grey.size, 255))), "PNG"),
        "alpha.png": saved(alpha, "PNG"),
        "16-bit-grey.png": saved(Image.fromarray(deep), "PNG"),
        "16-bit-grey.tif": saved(Image.fromarray(deep), "TIFF"),
        "16-bit-colour.png": _png(60, 40, 16, 2, zlib.compress(_rows_of_16_bits())),
        "32-bit-grey.tif": saved(Image.fromarray(deep.astype(np.int32)), "TIFF"),
        "interlaced-like.bmp": saved(image, "BMP"),
        "lab.tif": saved(image.convert("YCbCr"), "TIFF"),
        "animated.gif": saved(image, "GIF", **animated),
        "animated.webp": saved(image, "WEBP", lossless=True, **animated),
        "animated.png": saved(image, "PNG", **animated),
        "pages.tif": saved(image, "TIFF", save_all=True, append_images=frames),
        "plain.ppm": saved(image, "PPM"),
    }


def _rows_of_16_bits() -> bytes:
    """The scanlines of a PNG with 16 bits a channel, big-endian, each after its filter byte."""
    levels = (scene().astype(np.uint16) * 257).astype(">u2")
    return b"".join(b"\0" + row.tobytes() for row in levels)
