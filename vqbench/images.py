"""Images for a model, and from a model's images to those that a measuring protocol sees."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqbench.errors import RunError, UsageError
from vqbench.protocol import MeasureProtocol


def to_unit(levels: Tensor) -> Tensor:
    """uint8 in 0 ... 255 to float32 in [-1, 1], as models want images: level / 255, then (x - 0.5) / 0.5."""
    return (levels.float() / 255 - 0.5) / 0.5


def as_measured(x: Tensor, protocol: MeasureProtocol) -> Tensor:
    """What ``protocol`` sees of the images ``x``.

    ``x`` is (B, C, H, W) with C of 1 or 3, in [-1, 1] (beyond it, clamped): a model's output, or its input for the
    originals. Returns float32 in [0, 1] on the same device: (B, C, H, W) where pixels stay floats, (B, 3, H, W) where
    they go to 8 bits, grey then being tiled (as three views of one channel, see :func:`distinct`). Raises RunError for
    NaN and infinity, which 8 bits would hide.
    """
    if x.shape[1] not in (1, 3):
        raise UsageError(f"images have {x.shape[1]} channels; only grey (1) and RGB (3) can be measured")
    if not x.isfinite().all():
        raise RunError(
            "the images to be measured hold NaN or infinity: the training has diverged or the model is broken"
        )
    images = ((x.float() + 1) / 2).clamp(0, 1)
    if protocol.pixels == "float":
        if protocol.jpeg is not None:
            raise UsageError(f"measuring protocol {protocol.name!r}: a JPEG round trip needs pixels of 8 bits")
        return images
    levels = truncated(images).cpu().expand(-1, 3, -1, -1)  # JPEG and Pillow know no other device
    if protocol.jpeg is not None:
        seen = through_jpeg(levels, protocol.jpeg)
        grey = x.shape[1] == 1 and torch.equal(seen, seen[:, :1].expand_as(seen))  # no coder gave grey a tint
        levels = seen[:, :1].expand_as(seen) if grey else seen
    return (distinct(levels).to(x.device).float() / 255).expand(-1, 3, -1, -1)


def distinct(images: Tensor) -> Tensor:
    """The channels of (B, C, H, W) that differ: (B, 1, H, W) where all are views of the same memory, as of tiled grey.

    A mean over equal channels is that of one of them, so that metrics need not do their work three times.
    """
    return images[:, :1] if images.stride(1) == 0 else images


def truncated(images: Tensor) -> Tensor:
    """[0, 1] to uint8 as the released code casts: times 255 in float32, the fraction cut off.

    Of the 256 grey levels, 63 come back from their float32 round trip to [-1, 1] a little too small, and drop by one.
    """
    return (images * 255).to(torch.uint8)


def rounded(images: Tensor) -> Tensor:
    """[0, 1] to uint8 by rounding: the inverse of dividing by 255."""
    return (images * 255).round().to(torch.uint8)


def through_jpeg(images: Tensor, quality: int) -> Tensor:
    """Images (B, 3, H, W) uint8 written as JPEG and read back, in memory; 4:2:0, as Pillow and imageio write it.

    One after the other: on two shared cores, two threads were measured to gain nothing at 32, 64 and 256 pixels. Pillow
    holds the interpreter's lock while it encodes into memory, and for small images most of the rest is Python's work.
    """
    height, width = images.shape[-2:]
    arrays = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())  # (B, H, W, 3)
    decoded = b"".join(_decoded(_encoded(array, quality), (width, height)) for array in arrays)
    return torch.frombuffer(bytearray(decoded), dtype=torch.uint8).view(-1, height, width, 3).permute(0, 3, 1, 2)


def _encoded(image: np.ndarray, quality: int) -> bytes:
    """The JPEG file of an image (H, W, 3) uint8."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _decoded(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """The levels of a JPEG file of (width, height) pixels: H x W x 3 bytes.

    Straight by the decoder that ``Image.open`` would choose, which takes half the time: it would read the headers once
    more, in Python. ValueError for a damaged file.
    """
    return Image.frombytes("RGB", size, jpeg, "jpeg", "RGB", "").tobytes()
