"""Batches of a split in a given order, decoded ahead of who trains on them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from vqbench.dataset import Images


def workers() -> int:
    """How many threads decode: ``VQBENCH_LOADERS``, else one for each core that this process may use, at most 16."""
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
    """The images at the positions ``order`` (N,) int64, ``size`` at a time: (B, C, S, S) uint8, on the CPU.

    The last batch may be smaller. ``start`` leaves out that many batches, whose images are not decoded: an epoch that
    was stopped goes on from there. With a ``seed``, images are varied as their data set is for training, each drawn
    by the seed and its position, so no number depends on batches, ``start`` or threads; without one they are as they
    are. Several ranks: each gives its own part of the order.

    ``threads`` (see :func:`workers`) each decode one batch; as many more wait, decoded. They are threads, since Pillow
    frees the interpreter's lock while it decodes and resizes: nothing is copied between processes, and nothing forks a
    process that has a GPU. Closing the iterator, or its end, ends them. Whatever an image raises comes through.
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


def resident(images: Tensor | Images) -> Tensor:
    """All images at once, (N, C, S, S) uint8; for splits that fit into memory."""
    if isinstance(images, Tensor):
        return images
    return torch.cat(list(batches(images, torch.arange(len(images)), 64)))
