"""Read batches of a split in a given order, decoded ahead of the training."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from vqbench.dataset import Images


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

    count = threads or workers()
    pool = ThreadPoolExecutor(count, thread_name_prefix="vqbench-loader")
    waiting: deque[Future[Tensor]] = deque()
    try:
        for part in parts:
            waiting.append(pool.submit(read, part))
            if len(waiting) > 2 * count:
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
