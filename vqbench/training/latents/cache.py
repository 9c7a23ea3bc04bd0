"""Latents of the training images: encoded once, in memory or a file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqbench.dataset import Images
from vqbench.errors import Interrupted, RunError, Unwritable
from vqbench.images import batches, to_unit
from vqbench.recipe import Task
from vqbench.store import deletion
from vqbench.training.engine import upload

IN_MEMORY = 2**31  # bytes; more than that is kept in a file
PIECE = 500  # images that are encoded at once; fewer of large ones
VISIBLE = 60  # seconds within which all ranks must see a new file, on a file system of several machines


class LatentCache:
    """Latents (N, *shape), or (2 N, *shape) with mirrored images.

    ``values`` is a tensor, or a file mapped into memory.
    """

    def __init__(self, values: Tensor | np.ndarray, mirrored: bool, device: torch.device) -> None:
        self.values, self.mirrored, self.device = values, mirrored, device

    def draw(self, index: Tensor) -> Tensor:
        """Return latents (B, *shape) of the images at ``index`` (B,).

        They are on the device; of an image and its mirror image, one is drawn at random.
        """
        if self.mirrored:
            index = 2 * index + torch.randint(2, index.shape)
        return self._at(index)

    def moments(self, by_channel: bool) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation, () or by channel (dim,).

        Channels are the first axis of latents (dim, s, s).
        """
        axes = (0, 2, 3) if by_channel else (0, 1, 2, 3)
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        for start in range(0, len(self.values), 1000):
            some = self._at(torch.arange(start, min(start + 1000, len(self.values)))).double().cpu()
            count += some.numel() // (some.shape[1] if by_channel else 1)
            total, squares = total + some.sum(axes), squares + some.square().sum(axes)
        mean = total / count
        return mean.float(), (squares / count - mean.square()).clamp_min(0).sqrt().float()

    def _at(self, places: Tensor) -> Tensor:
        if isinstance(self.values, Tensor):
            return self.values[upload(places, self.device)]
        return upload(torch.from_numpy(self.values[places.numpy()]), self.device)


class LatentEncoder:
    """Encodes the first ``count`` images, and perhaps their mirror images.

    Images are encoded in pieces, as large as memory allows. Ranks proceed in rounds, after each of which they exchange
    errors and whether to stop.
    """

    def __init__(self, task: Task, images: Tensor | Images, count: int, generator: Any, mirrored: bool) -> None:
        self.task, self.group, self.device = task, task.engine.group, task.engine.device
        self.images, self.count, self.generator, self.mirrored = images, count, generator, mirrored
        self.piece = min(PIECE, max(8, 2**19 // task.dataset.size**2))
        self.total = -(-count // self.piece)  # pieces
        self.bytes = 4 * (1 + mirrored) * prod(generator.shape)  # per image
        digest = bytes(generator.first_digest.tolist()).hex()[:8]  # with another autoencoder, another file
        self.path = task.folder / f"encoded-{digest}.bin"
        self.part = self.path.with_suffix(".part")

    def rows(self) -> LatentCache:
        """Return the latents, in memory or if large in a file.

        In memory every rank computes them all; a file is written by the first.

        The file stays in the run's folder until the training ends, so that a stop loses little of it; all ranks must
        share that folder. Raises Interrupted where the task is stopped, RunError for a rank that does not see the file.
        """
        if self.count * self.bytes <= IN_MEMORY:
            every = self._rounds(self._pieces(0, 1), 0, 1)
            return LatentCache(torch.cat([rows for rows in every if rows is not None]), self.mirrored, self.device)
        if not self.group.from_first_rank(self.path.exists):
            self._write()
        self.group.on_all_ranks(self._require_file)
        shape = (self.count * (1 + self.mirrored), *self.generator.shape)
        return LatentCache(np.memmap(self.path, np.float32, "r", shape=shape), self.mirrored, self.device)

    def _pieces(self, start: int, every: int) -> Iterator[Tensor]:
        """Encode every ``every``th piece of images from ``start`` on.

        Each image is followed by its mirror image.
        """
        order = torch.arange(self.count).split(self.piece)[start::every]
        for some in batches(self.images, torch.cat(order) if order else torch.arange(0), self.piece):
            x = to_unit(some.to(self.device))
            both = [self.generator.encode(each) for each in ([x, x.flip(-1)] if self.mirrored else [x])]
            yield torch.stack(both, 1).flatten(0, 1)

    def _rounds(self, own: Iterator[Tensor], done: int, by: int) -> Iterator[Tensor | None]:
        """Return this rank's piece of each round of ``by`` pieces.

        None where it has none in the last round.
        """
        while done < self.total:
            yield self.group.on_all_ranks(lambda: next(own, None))
            done = min(done + by, self.total)
            if self.group.broadcast_number(int(self.task.stopped())):
                raise Interrupted(f"stopped after encoding {done} of {self.total} parts of the images")

    def _write(self) -> None:
        """Write the missing pieces, which the ranks encode in turn."""
        size = self.piece * self.bytes
        done = self.group.from_first_rank(lambda: _begun(self.part, size))
        own = self._pieces(done + self.group.rank, self.group.size)
        for rows in self._rounds(own, done, self.group.size):
            some = self.group.gather(None if rows is None else rows.cpu().numpy())
            self.group.from_first_rank(partial(_append, self.part, [each for each in some if each is not None]))
            done = min(done + self.group.size, self.total)
            self.task.progress(done, self.total)
        self.group.from_first_rank(partial(_publish, self.part, self.path))

    def _require_file(self) -> None:
        until = time.monotonic() + VISIBLE
        while not self.path.exists():
            if time.monotonic() > until:
                raise RunError(f"{self.path} does not exist for all ranks; several machines need a shared --store")
            time.sleep(1)


def _begun(part: Path, size: int) -> int:
    """Return how many pieces of ``size`` bytes exist; cut off the rest."""
    with _os_errors_as_unwritable(part):
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            file.truncate(part.stat().st_size // size * size)
        return part.stat().st_size // size


def _append(part: Path, pieces: Sequence[np.ndarray]) -> None:
    with _os_errors_as_unwritable(part), part.open("ab") as file:
        for piece in pieces:
            file.write(piece.astype(np.float32).tobytes())


def _publish(part: Path, path: Path) -> None:
    with _os_errors_as_unwritable(part):
        part.replace(path)


@contextmanager
def _os_errors_as_unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unwritable(f"{path} cannot be written ({error}); make room, or name another --store") from error


def forget(folder: Path) -> None:
    """Remove the files of latents, if any exist."""
    deletion.delete(folder, folder.glob("encoded-*"))
