"""Images: read from bytes, in batches, and as models and protocols see them."""

from __future__ import annotations

import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqbench.errors import AssetError, RunError, UsageError
from vqbench.protocol import Colour, MeasureProtocol

if TYPE_CHECKING:
    from vqbench.dataset import Images

Part = TypeVar("Part")
Result = TypeVar("Result")

PIECE = 2**20  # pixel values that are converted to float64 at a time


def idx_images(data: bytes) -> Tensor:
    """Return the images (N, 1, H, W) uint8 in the bytes of an idx3 file.

    This is the file format of MNIST and its relatives. Its head is four big-endian int32: 0x803, N, H, W.

    Raises AssetError for anything else.
    """
    magic, n, height, width = (int.from_bytes(data[i : i + 4], "big") for i in range(0, 16, 4))
    if magic != 0x803 or not n or len(data) != 16 + n * height * width:
        raise AssetError("not a whole idx3 file of bytes; delete it, and it is fetched again")
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=16).view(n, 1, height, width)


def to_unit(levels: Tensor) -> Tensor:
    """Convert uint8 to float32 in [-1, 1]: level / 255, then (x - 0.5) / 0.5.

    Features of a data set, which are floats, are returned as they are.
    """
    if levels.is_floating_point():
        return levels
    return (levels.float() / 255 - 0.5) / 0.5


def as_measured(x: Tensor, protocol: MeasureProtocol) -> Tensor:
    """Prepare images for metrics as ``protocol`` does.

    Args:
        x: (B, C, H, W) with C of 1 or 3, in [-1, 1] (values beyond are clamped): a model's output, or its input for
            the originals.
        protocol: The measuring protocol.

    Returns:
        float32 in [0, 1] on the same device: (B, C, H, W) where pixels stay floats, (B, 3, H, W) where they are
        converted to 8 bits. Grey is then tiled, as three views of one channel, see :func:`distinct`; so is one that the
        protocol's ``colour`` makes of RGB.

    Raises:
        RunError: ``x`` contains NaN or infinity, which 8 bits would hide.
        UsageError: Other numbers of channels, or a protocol with JPEG and float pixels.
    """
    if x.shape[1] not in (1, 3):
        raise UsageError(f"images have {x.shape[1]} channels; only grey (1) and RGB (3) can be measured")
    if not x.isfinite().all():
        raise RunError(
            "the images to be measured contain NaN or infinity: the training has diverged or the model is broken"
        )
    images = ((x.float() + 1) / 2).clamp(0, 1)
    if protocol.pixels == "float":
        if protocol.jpeg is not None:
            raise UsageError(f"measuring protocol {protocol.name!r}: a JPEG round trip needs pixels of 8 bits")
        return in_colour(images, protocol.colour)
    eight_bits = truncated if protocol.pixels == "truncate" else rounded
    levels = eight_bits(images).cpu().expand(-1, 3, -1, -1)  # Pillow needs them on the CPU
    if protocol.jpeg is not None:
        coded = through_jpeg(levels, protocol.jpeg)
        grey = x.shape[1] == 1 and torch.equal(coded, coded[:, :1].expand_as(coded))  # JPEG gave grey no tint
        levels = coded[:, :1].expand_as(coded) if grey else coded
    return in_colour((distinct(levels).to(x.device).float() / 255).expand(-1, 3, -1, -1), protocol.colour)


_WEIGHTS: Mapping[Colour, tuple[float, float, float]] = {  # of red, green and blue in [0, 1]
    "grey601": (0.299, 0.587, 0.114),
    "grey709": (0.2125, 0.7154, 0.0721),
    "y": (65.481 / 255, 128.553 / 255, 24.966 / 255),
}
_PILLOW = (19595, 38470, 7471)  # Pillow's weights of levels for its mode L, in units of 2**-16


def in_colour(images: Tensor, colour: Colour) -> Tensor:
    """Convert RGB images (B, 3, H, W) in [0, 1] to grey, tiled; grey stays as it is.

    >>> in_colour(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1), "grey601").flatten()
    tensor([0.2990, 0.2990, 0.2990])
    """
    if colour == "rgb" or images.shape[1] == 1 or images.stride(1) == 0:
        return images
    if colour == "grey":
        weights = torch.tensor(_PILLOW, dtype=torch.int32, device=images.device)[:, None, None]
        levels = (rounded(images).int() * weights).sum(1)  # (B, H, W)
        grey = (levels + 2**15 >> 16).float() / 255
    else:
        exact = torch.tensor(_WEIGHTS[colour], dtype=torch.float64, device=images.device)[:, None, None]
        grey = ((images.double() * exact).sum(1) + (16 / 255 if colour == "y" else 0.0)).float()
    return grey[:, None].expand(-1, 3, -1, -1)


def distinct(images: Tensor) -> Tensor:
    """Return the channels of (B, C, H, W) that differ: one of tiled grey.

    Tiled channels are views of the same memory. A mean over equal channels is that of one of them, so that metrics
    need not compute it three times.
    """
    return images[:, :1] if images.stride(1) == 0 else images


def differences(batch: Tensor, others: Tensor) -> Tensor:
    """Compute ``batch`` - ``others``, (B, C, H, W), in float64.

    Images are converted a few at a time, since float64 copies of both batches would double the memory of a measurement.
    """
    batch, others = distinct(batch), distinct(others)
    result = torch.empty_like(batch if batch.shape[1] >= others.shape[1] else others, dtype=torch.float64)
    size = max(1, PIECE // batch[0].numel())
    for part, x, y in zip(result.split(size), batch.split(size), others.split(size), strict=True):
        part.copy_(x).sub_(y)
    return result


def truncated(images: Tensor) -> Tensor:
    """Convert [0, 1] to uint8 by truncation, as CVQ-VAE's released code does.

    Of the 256 grey levels, 63 return from their float32 round trip to [-1, 1] a little too small, and drop by one.
    """
    return (images * 255).to(torch.uint8)


def rounded(images: Tensor) -> Tensor:
    """Convert [0, 1] to uint8 by rounding: the inverse of dividing by 255."""
    return (images * 255).round().to(torch.uint8)


def through_jpeg(images: Tensor, quality: int) -> Tensor:
    """Encode images (B, 3, H, W) uint8 as JPEG in memory, and decode them.

    With 4:2:0 chroma subsampling, the default of Pillow and imageio. In one thread: on two shared cores, two threads
    were measured to gain nothing at 32, 64 and 256 pixels, since Pillow holds the interpreter's lock while it encodes
    into memory, and for small images most of the rest is Python's work.
    """
    height, width = images.shape[-2:]
    arrays = np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())  # (B, H, W, 3)
    decoded = b"".join(_decoded(_encoded(array, quality), (width, height)) for array in arrays)
    return torch.frombuffer(bytearray(decoded), dtype=torch.uint8).view(-1, height, width, 3).permute(0, 3, 1, 2)


def _encoded(image: np.ndarray, quality: int) -> bytes:
    """Encode an image (H, W, 3) uint8 as a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _decoded(jpeg: bytes, size: tuple[int, int]) -> bytes:
    """Decode a JPEG file of (width, height) pixels to H x W x 3 bytes.

    Calls the decoder that ``Image.open`` would choose in half the time: that would first read the headers in Python.
    Raises ValueError for a damaged file.
    """
    return Image.frombytes("RGB", size, jpeg, "jpeg", "RGB", "").tobytes()


# Batches of a split in a given order, decoded ahead of the training ---------------------------------------------------


def workers() -> int:
    """Return the number of decoding threads.

    It is ``VQBENCH_LOADERS``, else one per usable core, at most 16.
    """
    own = os.environ.get("VQBENCH_LOADERS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(own) if own.isdecimal() and int(own) else min(cores, 16)


def batches(
    images: Tensor | Images,
    order: Tensor,
    size: int,
    start: int = 0,
    seed: int | None = None,
    threads: int | None = None,
) -> Iterator[Tensor]:
    """Yield the images at the positions ``order`` in batches.

    Threads decode, since Pillow releases the interpreter's lock while it decodes and resizes: nothing is copied between
    processes, and no process that uses a GPU is forked. They end when the iterator ends or is closed.

    Args:
        images: All images of a split, N of them.
        order: Positions (M,) int64 in [0, N); with several ranks, those of this rank.
        size: Images per batch; the last batch may be smaller.
        start: Batches at the beginning to leave out without decoding them, to resume an epoch.
        seed: Augments each image as its data set does, drawn by the seed and its position, so that nothing depends on
            batches, ``start`` or threads. None: images as they are.
        threads: Each decodes one batch; as many decoded batches wait. None: :func:`workers`.

    Yields:
        (B, C, S, S) uint8 on the CPU.

    Raises:
        AssetError: An image can no longer be read.
    """
    order = order.cpu()
    parts = order.split(size)[start:] if len(order) else ()
    if isinstance(images, Tensor):
        yield from (images[part] for part in parts)
        return

    def read(part: Tensor) -> Tensor:
        return images[part] if seed is None else images.augmented(part, seed)

    yield from read_ahead(parts, read, threads or workers())


def read_ahead(parts: Iterable[Part], read: Callable[[Part], Result], threads: int) -> Iterator[Result]:
    """Yield ``read(part)`` of all parts in order, computed ahead by threads.

    Twice as many results as threads wait at most. An error of ``read`` is raised where its result is due.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="vqbench-loader")
    waiting: deque[Future[Result]] = deque()
    try:
        for part in parts:
            waiting.append(pool.submit(read, part))
            if len(waiting) > 2 * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def with_progress(pieces: Iterable[Tensor], progress: Callable[[], None]) -> Iterator[Tensor]:
    """Yield the ``pieces``, and call ``progress`` after each was used."""
    for piece in pieces:
        yield piece
        progress()


def resident(images: Tensor | Images) -> Tensor:
    """Return all images as one tensor (N, C, S, S) uint8 in memory."""
    if isinstance(images, Tensor):
        return images
    return torch.cat(list(batches(images, torch.arange(len(images)), 64)))


class FirstImages:
    """The first ``count`` of :class:`vqbench.dataset.Images`."""

    def __init__(self, images: Images, count: int) -> None:
        self.images, self.count = images, min(count, len(images))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, which: slice | Tensor, /) -> Tensor:
        return self.images[torch.arange(self.count)[which]]

    def augmented(self, which: Tensor, seed: int, /) -> Tensor:
        return self.images.augmented(torch.arange(self.count)[which], seed)


def first_images(images: Tensor | Images, count: int | None) -> Tensor | Images:
    """Return the first ``count`` images of a split, all for None; reads none."""
    if count is None:
        return images
    return images[:count] if isinstance(images, Tensor) else FirstImages(images, count)
