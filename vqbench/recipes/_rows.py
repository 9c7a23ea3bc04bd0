"""What a trained autoencoder makes of the training pictures: computed once, in memory or, if large, in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vqbench.dataset import Pictures
from vqbench.errors import Interrupted, RunError, Unwritable
from vqbench.loading import batches
from vqbench.pictures import to_unit
from vqbench.recipe import Task

IN_MEMORY = 2**31  # bytes; more than that is kept in a file
PIECE = 500  # pictures that are encoded at once; fewer of large ones
NAME = "encoded.bin"
Encode = Callable[[Tensor], Tensor]  # pictures (B, C, S, S) in [-1, 1] -> (B, *shape)
Pieces = Callable[[int, int, int], Iterator[Tensor]]
Result = TypeVar("Result")


class Rows:
    """A row for each picture or, with its mirror image, two: the tensor or the file ``values`` (N or 2 N, *shape)."""

    def __init__(self, values: Tensor | np.ndarray, mirrored: bool, device: torch.device) -> None:
        self.values, self.mirrored, self.device = values, mirrored, device

    def draw(self, index: Tensor) -> Tensor:
        """The rows (B, *shape) of the pictures at ``index`` (B,), on the device; of each, one of its two by chance."""
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


def encoded(
    task: Task, pictures: Tensor | Pictures, count: int, encode: Encode, shape: Sequence[int], flips: bool
) -> Rows:
    """The rows of the first ``count`` pictures, and with ``flips`` of their mirror images, float32 of ``shape``.

    Small ones are computed anew by every process that needs them. Large ones are shared by the ranks, which the first
    writes into the run's folder piece by piece, so that a stop loses little of them; all ranks read them there, so that
    they need a folder in common. Raises Interrupted when told to stop, RunError for a rank that does not see the file.
    """
    size, device = count * (1 + flips), task.engine.device

    def pieces(start: int, every: int, together: int) -> Iterator[Tensor]:
        """The rows of every ``every``th piece of ``together`` pictures, from piece ``start`` on."""
        order = torch.arange(count).split(together)[start::every]
        for some in batches(pictures, torch.cat(order) if order else torch.arange(0), together):
            x = to_unit(some.to(device))
            both = [encode(x), encode(x.flip(-1))] if flips else [encode(x)]
            yield torch.stack(both, 1).flatten(0, 1)

    together = min(PIECE, max(8, 2**19 // task.dataset.size**2))
    if 4 * size * prod(shape) <= IN_MEMORY:
        return Rows(torch.cat(list(pieces(0, 1, together))), flips, device)
    path = task.folder / NAME
    if not task.engine.group.agree(path.exists):
        _write(task, path, -(-count // together), 4 * together * (1 + flips) * prod(shape), pieces, together)
    if not path.exists():
        raise RunError(f"{path} is not there for this rank; several machines need a store on a file system in common")
    return Rows(np.memmap(path, np.float32, "r", shape=(size, *shape)), flips, device)


def _write(task: Task, path: Path, total: int, whole: int, pieces: Pieces, together: int) -> None:
    """Have the ranks take turns in computing the ``total`` pieces, of ``whole`` bytes each but for the last."""
    group, part = task.engine.group, path.with_name(f"{NAME}.part")
    done = group.agree(lambda: _begun(part, whole))
    own = pieces(done + group.rank, group.size, together)
    for start in range(done, total, group.size):
        rows = next(own, None)  # a rank beyond the last piece has none
        some = group.gather(None if rows is None else rows.cpu().numpy())
        group.agree(partial(_append, part, [each for each in some if each is not None]))
        done = min(start + group.size, total)
        task.progress(done, total)
        if group.number(int(task.stopped())):
            raise Interrupted(f"stopped after encoding {done} of {total} parts of the pictures")
    group.agree(lambda: _told(part, lambda: part.replace(path)))


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
        raise Unwritable(
            f"{path} cannot be written ({error}); make room, or name another store with --store"
        ) from error


def forget(folder: Path) -> None:
    """Remove the file, where there is one."""
    for name in (NAME, f"{NAME}.part"):
        (folder / name).unlink(missing_ok=True)
