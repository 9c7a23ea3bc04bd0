"""Keep samples in a run folder: in pieces while sampling, then in one file."""

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
from vqbench.store.value_name import Sampling
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

DIGEST = hashlib.sha256().digest_size
MARK = "samples.sha256"  # identifies the weights of the generator that the samples in a folder are of


class SamplePieces:
    """The samples of one sampling, in ``samples-NAME.npy``.

    It is an (N, C, S, S) uint8 array. Until it is complete, piece ``number`` is ``samples-NAME.parts/NUMBER.npy``: the
    ``size`` samples from ``number * size`` on, and the SHA-256 of that. An image depends on its own seed alone, so a
    piece may be sampled by any rank, at any time. Only rank 0 reads and writes.
    """

    def __init__(self, folder: Path, sampling: Sampling, size: int) -> None:
        self.folder = folder
        self.path = folder / f"samples-{sampling.samples_name}.npy"
        self.parts = folder / f"samples-{sampling.samples_name}.parts"
        self.count, self.size = sampling.count, size
        self.pieces = -(-self.count // size)

    def places(self, number: int) -> range:
        """Return the positions of a piece's samples."""
        return range(self.count)[number * self.size : (number + 1) * self.size]

    def missing(self) -> list[int]:
        """Return the pieces that are missing or damaged; none once joined."""
        if self._whole():
            deletion.delete(self.folder, [self.parts])  # left by a process that was stopped while it deleted them
            return []
        return [number for number in range(self.pieces) if self._piece(number) is None]

    def keep(self, numbers: list[int], pieces: list[np.ndarray]) -> None:
        """Write the ``pieces``, (P, C, S, S) each. Raises Unwritable."""
        for number, piece in zip(numbers, pieces, strict=True):
            buffer = io.BytesIO()
            np.save(buffer, np.ascontiguousarray(piece))
            content = buffer.getvalue()
            write_atomically(self._path(number), content + hashlib.sha256(content).digest())

    def join(self) -> None:
        """Join the pieces into the one file, unless it exists, and delete them.

        Raises:
            Damaged: A piece can no longer be read.
            Unwritable: The file cannot be written.
        """
        if self._whole():
            return
        unfinished = self.parts / "whole"  # deleted with the pieces, if writing it is interrupted
        try:
            with unfinished.open("wb") as file:
                self._write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(unfinished, self.path)
        except OSError as error:
            reason = error.strerror or error
            raise Unwritable(f"{self.path}: cannot write ({reason}); free space or fix its permissions") from error
        deletion.delete(self.folder, [self.parts])

    def read(self) -> Tensor:
        """Return all samples, (N, C, S, S) uint8, once joined. Raises Damaged."""
        try:
            images, _ = stored_files.large_array(self.path)
            if images.ndim != 4 or images.dtype != np.uint8 or len(images) != self.count:
                raise ValueError(f"{images.shape} of {images.dtype} are no samples")
        except (FileNotFoundError, ValueError) as error:
            raise Damaged(f"{self.path}: damaged ({error}); delete it, and the images are sampled again") from error
        return torch.from_numpy(images)

    def _write(self, file: BinaryIO) -> None:
        """Write the array of all pieces in numpy's format, piece by piece."""
        for number in range(self.pieces):
            if (piece := self._piece(number)) is None:
                raise Damaged(f"{self._path(number)}: damaged; repeat the command to sample these images again")
            if number == 0:
                shape = (self.count, *piece.shape[1:])
                head = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, head)
            file.write(piece.data)

    def _path(self, number: int) -> Path:
        return self.parts / f"{number:06}.npy"

    def _whole(self) -> bool:
        """Return whether the one file exists and is complete, by its header."""
        try:
            shape, dtype = stored_files.array_header(self.path)
        except (FileNotFoundError, ValueError):
            return False
        return len(shape) == 4 and shape[0] == self.count and dtype == np.uint8

    def _piece(self, number: int) -> np.ndarray | None:
        """Read a piece (P, C, S, S); None if it is missing or damaged."""
        with suppress(FileNotFoundError, ValueError):
            stored = memoryview(stored_files.content(self._path(number)))
            content, check = stored[:-DIGEST], stored[-DIGEST:]
            if hashlib.sha256(content).digest() == check:
                piece = stored_files.array(content)
                return piece if piece.ndim == 4 and len(piece) == len(self.places(number)) else None
        return None


def claim(folder: Path, weights: Mapping[str, Tensor]) -> None:
    """Delete the samples in ``folder`` unless they are of these ``weights``.

    Called after a training. A run that is stopped while it samples has no record yet, so its training is repeated,
    from its last checkpoint, and ends in the same weights: its samples are kept.
    """
    mark = folder / MARK
    digest = digest_of_arrays({name: tensor.float().cpu().numpy() for name, tensor in weights.items()})
    try:
        claimed = stored_files.content(mark) == digest.encode()
    except (FileNotFoundError, ValueError):
        claimed = False
    if not claimed:
        forget(folder)
        write_atomically(mark, digest.encode())


def forget(folder: Path) -> None:
    """Delete all samples in ``folder``, with pieces and the mark."""
    paths = [folder / MARK, *folder.glob("samples-*.npy"), *folder.glob("samples-*.parts")]
    for path in deletion.delete(folder, paths):
        raise Unwritable(f"{path}: a link, which vqbench does not follow to delete samples; remove it")
