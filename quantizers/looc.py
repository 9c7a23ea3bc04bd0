"""LooC: several units of few dimensions per position, from one CVQ codebook."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

import vqbench.functional as Q
from vqbench.bounds import Codes, NonNegativeFloat, NonNegativeInt, Width
from vqbench.quantizer import Quantizer, QuantizerOutput
from vqbench.quantizers.cvq_grouped import CVQGrouped


class LooC(Quantizer):
    """CVQ-VAE of low-dimensional units, optionally of interpolated features.

    Without interpolation (``shuffle_scale`` 0, as released) a unit is ``dim``/``units`` neighbouring channels, and the
    units of all positions together are the features of one cvq: the code of largest cosine, vq's loss between the
    vectors as they are, and unused codes relocated onto the unit that is ``closest`` (or ``random``, or drawn with
    ``probability``), by usage over all units. There is no contrastive term: cvq_grouped without it, with that anchor.

    With ``shuffle_scale`` r ≥ 1, z is interpolated bilinearly to r times its height and width, the r × r values of each
    cell become r² neighbouring channels (pixel-unshuffle), units are cut from these ``dim``·r² channels, the loss is
    taken between them, and z_q is the mean of each cell's r² values. So at the same number of units a unit has r² times
    as many dimensions, and the bits do not change.

    ``unit_codes``: codes per unit, K; with None the whole number whose ``units``-th power is nearest to ``num_codes``,
    so that all units together cost what the suite's budget allows (512 codes: two units of 23). A position costs
    ``units``·log2 ``unit_codes`` bits. Codes start at U(±1/K), as in the released code.

    The released setting has another rate than the tables it is printed in: 128 channels in units of 4, 256 codes, on
    MNIST 49·32·8 = 12,544 bits per image, where CVQ-VAE with 512 codes has 441. It is
    ``looc(units=32, unit_codes=256)`` with ``dim`` 128. At 9 bits per position, three of its units of 4 are left, with
    8 codes: ``looc(units=3)`` and the row's own ``codebook: {num_codes: 512, dim: 12}``.

    Differs from the released code:

    - It is given the width of a unit, d, not their number: ``units`` is ``dim``·r²/d, or ``dim``/d without r.
    - Units are neighbouring channels (its ``fixed``, the default). Its ``interval`` and ``random`` permute the channels
      before, and never undo it after: the decoder and the loss see permuted channels.
    - Its ``l2`` fails with ``closest``; here, both work. As in cvq, ``random`` draws from the current batch alone.
    - Options that its configuration leaves off are left out: similarity and uniformity losses of the codebook, several
      quantizers in a row, skipped units.
    """

    paper: ClassVar[str] = (
        "J. Li, K.-Y. K. Wong, K. Han, LooC: Effective Low-Dimensional Codebook for Compositional Vector Quantization, "
        "WACV 2026, arXiv 2601.00222"
    )

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        units: Width = 2,
        unit_codes: Codes | None = None,
        shuffle_scale: NonNegativeInt = 0,
        distance: Literal["l2", "cosine"] = "cosine",
        anchor: Literal["random", "probability", "closest"] = "closest",
        beta: NonNegativeFloat = 0.25,
    ) -> None:
        Q.require(units >= 1, f"units must be at least 1, not {units}")
        Q.require(shuffle_scale >= 0, f"shuffle_scale must not be negative, but is {shuffle_scale}")
        Q.require_choice("anchor", anchor, Literal["random", "probability", "closest"])
        channels = dim * max(1, shuffle_scale) ** 2
        Q.require(channels % units == 0, f"{channels} channels do not divide into {units} units of equal width")
        codes = Q.nearest_root(num_codes, units) if unit_codes is None else unit_codes
        super().__init__(codes, dim, depth=units)
        self.shuffle_scale = shuffle_scale
        self.grouped = CVQGrouped(
            codes,
            channels,
            groups=units,
            group_codes=codes,
            distance=distance,
            anchor=anchor,
            contrastive=False,
            beta=beta,
        )

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W); in training, the codebook learns as cvq's."""
        Q.flatten(z, self.dim)  # raises for other shapes
        out = self.grouped(self.interpolate(z))
        return QuantizerOutput(self.average(out.z_q), out.codes, out.loss, out.logs)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors (B, dim, H, W) of ``codes`` (B, H, W, units)."""
        return self.average(self.grouped.decode(codes))

    def interpolate(self, z: Tensor) -> Tensor:
        """Interpolate ``z`` (B, dim, H, W) to r × r values per cell, (B, dim·r², H, W)."""
        if self.shuffle_scale == 0:
            return z
        finer = F.interpolate(z, scale_factor=self.shuffle_scale, mode="bilinear")  # (B, dim, r·H, r·W)
        return F.pixel_unshuffle(finer, self.shuffle_scale)

    def average(self, vectors: Tensor) -> Tensor:
        """Average the r × r values of each cell: (B, dim·r², H, W) to (B, dim, H, W)."""
        if self.shuffle_scale == 0:
            return vectors
        cells: Tensor = vectors.unflatten(1, (self.dim, -1))  # (B, dim, r², H, W)
        return cells.mean(2)
