"""Write and read files of codes, ``codes.npz``."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vqbench.errors import UsageError, nearest
from vqbench.evaluation.coding import ImageCoder
from vqbench.spec import RunSpec
from vqbench.system import stored_files
from vqbench.system.stored_files import write_atomically

ARRAYS = ("codes", "names", "num_codes", "run", "image_size")


@dataclass(frozen=True)
class CodeFile:
    """Codes of images, and what they are codes of."""

    codes: np.ndarray  # (N, h, w, depth), the smallest unsigned type that holds num_codes - 1
    names: list[str]  # of the images, (N,)
    num_codes: int
    run: str  # key of the run whose codes they are
    image_size: tuple[int, int]  # height and width of the images, in pixels

    @classmethod
    def of(cls, coder: ImageCoder, run: RunSpec, codes: Tensor, names: list[str]) -> CodeFile:
        """Return the file of ``codes`` (N, h, w, depth) that ``coder`` has made."""
        num_codes = coder.model.quantizer.num_codes
        small = codes.numpy().astype(np.min_scalar_type(num_codes - 1))
        return cls(small, names, num_codes, run.key, (coder.size, coder.size))

    def require_of(self, run: RunSpec) -> None:
        """Raise UsageError unless these are codes of ``run``."""
        if self.run != run.key:
            raise UsageError(
                f"these are codes of run {self.run}, not of {run.key}; decode them by the run that made them"
            )

    def tensor(self) -> Tensor:
        """Return the codes as int64."""
        return torch.from_numpy(self.codes.astype(np.int64))


def write(path: Path, content: CodeFile) -> None:
    """Write ``content`` as an npz file, as a whole or not at all."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        codes=content.codes,
        names=np.array(content.names, dtype=str),
        num_codes=np.int64(content.num_codes),
        run=np.array(content.run),
        image_size=np.array(content.image_size, np.int64),
    )
    write_atomically(path, buffer.getvalue())


def read(path: Path) -> CodeFile:
    """Read a file that :func:`write` wrote.

    Raises UsageError for any other content, and for a missing file.
    """
    try:
        arrays = stored_files.arrays(path)
        for name in ARRAYS:
            if name not in arrays:
                raise ValueError(f"it has no array {name!r}; {nearest(name, arrays)}")
        codes, names = arrays["codes"], arrays["names"]
        if codes.ndim != 4 or codes.dtype.kind not in "iu":
            raise ValueError(f"its codes have the shape {codes.shape} and the type {codes.dtype}")
        if names.dtype.kind != "U" or names.shape != codes.shape[:1]:
            raise ValueError(f"{len(codes)} maps of codes, but names of the shape {names.shape}")
        height, width = (int(side) for side in arrays["image_size"])
        return CodeFile(codes, names.tolist(), int(arrays["num_codes"]), str(arrays["run"]), (height, width))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; `vqbench encode RUN IMAGES -o {path}` writes one") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: not a file of codes ({error}); `vqbench encode` writes such files") from None
