"""What a trained autoencoder makes of the training images: computed once, in memory or, if large, in a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vqbench.dataset import Images
from vqbench.errors import Interrupted, RunError, Unwritable
from vqbench.images import to_unit
from vqbench.loading import batches
from vqbench.recipe import Task
from vqbench.store import deletion

IN_MEMORY = 2**31  # bytes; more than that is kept in a file
PIECE = 500  # images that are encoded at once; fewer of large ones
SEEN = 60  # seconds until a new file must be there for all ranks, on file systems of several machines
Result = TypeVar("Result")


class LatentCache:
    """A row for each image or, with its mirror image, two: the tensor or the file ``values`` (N or 2 N, *shape)."""

    def __init__(self, values: Tensor | np.ndarray, mirrored: bool, device: torch.device) -> None:
        self.values, self.mirrored, self.device = values, mirrored, device

    def draw(self, index: Tensor) -> Tensor:
        """The rows (B, *shape) of the images at ``index`` (B,), on the device; of each, one of its two by chance."""
        if self.mirrored:
            index = 2 * index + torch.randint(2, index.shape)
        return self._at(index)

    def moments(self, by_channel: bool) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of all numbers, (), or of each channel's, (dim,), of rows (dim, s, s)."""
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
            return self.values[places.to(self.device)]
        return torch.from_numpy(self.values[places.numpy()]).to(self.device)


class LatentEncoder:
    """The first ``count`` images, and with ``flips`` their mirror images, as ``generator.encode`` has them.

    They are encoded in pieces, of so many images as memory allows. The ranks do so in rounds, after each of which
    they come to know of an error, or a stop, together.
    """

    def __init__(self, task: Task, pictures: Tensor | Images, count: int, generator: Any, flips: bool) -> None:
        self.task, self.group, self.device = task, task.engine.group, task.engine.device
        self.images, self.count, self.generator, self.flips = pictures, count, generator, flips
        self.together = min(PIECE, max(8, 2**19 // task.dataset.size**2))
        self.total = -(-count // self.together)  # pieces
        self.bytes = 4 * (1 + flips) * prod(generator.shape)  # of an image
        digest = bytes(generator.first_digest.tolist()).hex()[:8]  # with another autoencoder, another file
        self.path = task.folder / f"encoded-{digest}.bin"
        self.part = self.path.with_suffix(".part")

    def rows(self) -> LatentCache:
        """In memory, where every rank computes them all; or, if large, in a file that all read and the first writes.

        The file is kept in the run's folder, so that a stop loses little of it, until the training ends; the ranks need
        that folder in common. Raises Interrupted when told to stop, RunError for a rank that does not see the file.
        """
        if self.count * self.bytes <= IN_MEMORY:
            every = self._rounds(self._pieces(0, 1), 0, 1)
            return LatentCache(torch.cat([rows for rows in every if rows is not None]), self.flips, self.device)
        if not self.group.from_first_rank(self.path.exists):
            self._write()
        self.group.on_all_ranks(self._require_file)
        shape = (self.count * (1 + self.flips), *self.generator.shape)
        return LatentCache(np.memmap(self.path, np.float32, "r", shape=shape), self.flips, self.device)

    def _pieces(self, start: int, every: int) -> Iterator[Tensor]:
        """The rows of every ``every``th piece from ``start`` on; an image's, then its mirror image's."""
        order = torch.arange(self.count).split(self.together)[start::every]
        for some in batches(self.images, torch.cat(order) if order else torch.arange(0), self.together):
            x = to_unit(some.to(self.device))
            both = [self.generator.encode(each) for each in ([x, x.flip(-1)] if self.flips else [x])]
            yield torch.stack(both, 1).flatten(0, 1)

    def _rounds(self, own: Iterator[Tensor], done: int, by: int) -> Iterator[Tensor | None]:
        """This rank's piece of every round, None in the last one if it has none; ``by`` pieces are done in each."""
        while done < self.total:
            yield self.group.on_all_ranks(lambda: next(own, None))
            done = min(done + by, self.total)
            if self.group.broadcast_number(int(self.task.stopped())):
                raise Interrupted(f"stopped after encoding {done} of {self.total} parts of the images")

    def _write(self) -> None:
        """Have the ranks take turns with the pieces that are not there."""
        whole = self.together * self.bytes
        done = self.group.from_first_rank(lambda: _begun(self.part, whole))
        own = self._pieces(done + self.group.rank, self.group.size)
        for rows in self._rounds(own, done, self.group.size):
            some = self.group.gather(None if rows is None else rows.cpu().numpy())
            self.group.from_first_rank(partial(_append, self.part, [each for each in some if each is not None]))
            done = min(done + self.group.size, self.total)
            self.task.progress(done, self.total)
        self.group.from_first_rank(lambda: _told(self.part, lambda: self.part.replace(self.path)))

    def _require_file(self) -> None:
        until = time.monotonic() + SEEN
        while not self.path.exists():
            if time.monotonic() > until:
                raise RunError(f"{self.path} is not there for all ranks; several machines need a --store in common")
            time.sleep(1)


def _begun(part: Path, whole: int) -> int:
    """How many whole pieces are there; what is written of another one is cut off."""

    def cut() -> int:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            file.truncate(part.stat().st_size // whole * whole)
        return part.stat().st_size // whole

    return _told(part, cut)


def _append(part: Path, pieces: Sequence[np.ndarray]) -> None:
    def append() -> None:
        with part.open("ab") as file:
            for piece in pieces:
                file.write(piece.astype(np.float32).tobytes())

    _told(part, append)


def _told(path: Path, do: Callable[[], Result]) -> Result:
    """What ``do`` gives; Unwritable where the file system says no."""
    try:
        return do()
    except OSError as error:
        raise Unwritable(f"{path} cannot be written ({error}); make room, or name another --store") from error


def forget(folder: Path) -> None:
    """Remove the files, where there are any."""
    deletion.delete(folder, folder.glob("encoded-*"))
