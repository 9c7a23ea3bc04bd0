"""Samples in a run's folder: pieces while they are made, so that a stop loses little, then one file."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from vqbench.assets.content import digest_of_arrays
from vqbench.errors import Damaged, Unwritable
from vqbench.store import deletion
from vqbench.store.sampling import Sampling
from vqbench.system import reading
from vqbench.system.writing import write_atomically

DIGEST = hashlib.sha256().digest_size
MARK = "samples.sha256"  # names the weights of the generator that the samples in a folder are of


class SamplePieces:
    """The samples of one sampling: ``samples-NAME.npy``, an (N, C, S, S) uint8 array; until all are made, pieces of it.

    Piece ``number`` is ``samples-NAME.parts/NUMBER.npy``: the ``size`` samples from ``number * size`` on, and the
    SHA-256 of that. An image depends on its own seed alone, so it does not matter who makes a piece, or when. Of
    several ranks, only the first reads and writes.
    """

    def __init__(self, folder: Path, sampling: Sampling, size: int) -> None:
        self.folder = folder
        self.path = folder / f"samples-{sampling.samples_name}.npy"
        self.parts = folder / f"samples-{sampling.samples_name}.parts"
        self.count, self.size = sampling.count, size
        self.pieces = -(-self.count // size)

    def places(self, number: int) -> range:
        """Which samples a piece holds."""
        return range(self.count)[number * self.size : (number + 1) * self.size]

    def missing(self) -> list[int]:
        """The pieces that are not there or are damaged; none once the whole is there."""
        if self._whole():
            deletion.delete(self.folder, [self.parts])  # of a process that was stopped before it could
            return []
        return [number for number in range(self.pieces) if self._piece(number) is None]

    def keep(self, numbers: list[int], pieces: list[np.ndarray]) -> None:
        """Write the ``pieces`` (P, C, S, S) of these numbers. Raises Unwritable where there is no room for them."""
        for number, piece in zip(numbers, pieces, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(piece))
            content = buffer.getvalue()
            write_atomically(self._path(number), content + hashlib.sha256(content).digest())

    def join(self) -> None:
        """Make the one file of the pieces, unless it is there, one after the other, and remove them.

        Raises Damaged for a piece that was there a moment ago and cannot be read now, and Unwritable.
        """
        if self._whole():
            return
        unfinished = self.parts / "whole"  # where whatever is left of it goes with the pieces
        try:
            with unfinished.open("wb") as file:
                self._write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self.path)
        except OSError as error:
            why = error.strerror or error
            raise Unwritable(f"{self.path}: cannot write ({why}); free space or mend its permissions") from error
        deletion.delete(self.folder, [self.parts])

    def read(self) -> Tensor:
        """All samples, (N, C, S, S) uint8, once they are joined."""
        try:
            images, _ = reading.large_array(self.path)
            if images.ndim != 4 or images.dtype != np.uint8 or len(images) != self.count:
                raise ValueError(f"{images.shape} of {images.dtype} are no samples")
        except (FileNotFoundError, ValueError) as error:
            raise Damaged(f"{self.path}: damaged ({error}); delete it, and its samples are made anew") from error
        return torch.from_numpy(images)

    def _write(self, file: BinaryIO) -> None:
        """The array that all pieces are, in numpy's format, piece by piece."""
        for number in range(self.pieces):
            if (piece := self._piece(number)) is None:
                raise Damaged(f"{self._path(number)}: damaged; the same command makes these samples anew")
            if number == 0:
                shape = (self.count, *piece.shape[1:])
                head = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, head)
            file.write(piece.data)

    def _path(self, number: int) -> Path:
        return self.parts / f"{number:06}.npy"

    def _whole(self) -> bool:
        """Whether the one file is there and as long as it should be; what it holds is not read."""
        try:
            shape, dtype = reading.array_header(self.path)
        except (FileNotFoundError, ValueError):
            return False
        return len(shape) == 4 and shape[0] == self.count and dtype == np.uint8

    def _piece(self, number: int) -> np.ndarray | None:
        """A piece (P, C, S, S); None if there is none, or the file is not what was once written."""
        with suppress(FileNotFoundError, ValueError):
            stored = memoryview(reading.content(self._path(number)))
            content, check = stored[:-DIGEST], stored[-DIGEST:]
            if hashlib.sha256(content).digest() == check:
                piece = reading.array(content)
                return piece if piece.ndim == 4 and len(piece) == len(self.places(number)) else None
        return None


def claim(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Have ``folder`` hold no samples but those of a generator with these ``weights``, which was trained just now.

    A run that is stopped while it samples has no record yet, so that its training, all done, is gone through again and
    ends in the same weights: its samples stay. Those of other weights are deleted.
    """
    mark = folder / MARK
    digest = digest_of_arrays({name: tensor.float().cpu().numpy() for name, tensor in weights.items()})
    try:
        claimed = reading.content(mark) == digest.encode()
    except (FileNotFoundError, ValueError):
        claimed = False
    if not claimed:
        forget(folder)
        write_atomically(mark, digest.encode())


def forget(folder: Path) -> None:
    """Delete all samples in ``folder``, pieces and their mark included."""
    paths = [folder / MARK, *folder.glob("samples-*.npy"), *folder.glob("samples-*.parts")]
    for path in deletion.delete(folder, paths):
        raise Unwritable(f"{path}: a link, which vqbench does not follow to delete samples; remove it")
