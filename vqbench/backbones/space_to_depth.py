"""No network: the values of a patch are its feature."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from vqbench.backbone import Backbone
from vqbench.bounds import Width
from vqbench.errors import UsageError


class SpaceToDepth(Backbone):
    """Cut images into patches, whose values are the features, and put them back.

    A patch of ``side`` x ``side`` pixels has C·side² values, channel by channel. The first ``dim`` of them are encoded;
    the others are decoded as 0. Nothing is trained: vector quantization of image blocks as it was done before neural
    codecs and, with a ``side`` of 1, of a data set of features as they are.
    """

    paper: ClassVar[str] = (
        "A. Gersho, R. M. Gray, Vector Quantization and Signal Compression, Kluwer 1992 (blocks of pixels; no arXiv "
        "version)"
    )
    check_args: ClassVar = {"side": 3}

    def __init__(self, channels: int, dim: int, *, side: Width = 1) -> None:
        super().__init__()
        values = channels * side**2
        if dim > values:
            patch = "one value" if side == channels == 1 else f"{channels} x {side} x {side} values"
            raise UsageError(
                f"patches of {patch} have no dim of {dim}; set the codebook's dim to {values} or less, or a larger side"
            )
        self.dim, self.left_out, self.side = dim, values - dim, side
        self.factor = side

    def encode(self, x: Tensor) -> Tensor:
        return F.pixel_unshuffle(x, self.side)[:, : self.dim]

    def decode(self, z_q: Tensor) -> Tensor:
        return F.pixel_shuffle(F.pad(z_q, (0, 0, 0, 0, 0, self.left_out)), self.side)
