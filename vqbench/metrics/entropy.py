"""Bits per image at the entropy of the codes."""

from __future__ import annotations

import torch

from vqbench.functional.code_entropy import image_entropy_bits
from vqbench.metric import Batch
from vqbench.metrics.usage import Usage


class Entropy(Usage):
    """Bits per image of an ideal code for the codes' frequencies in the test split.

    Σ_d n_d · H_d with the entropy H_d = −Σ_k q_dk log2 q_dk of the frequencies q_d of the codes of depth d, and the n_d
    codes of that depth in an image: one per position, or one per cell of a grid of a multi-scale quantizer. At most
    ``bits``, which it reaches where all codes are equally frequent.

    No position and no code before it is used, so that a prior (``prior_bits``) can need fewer bits. Frequencies are
    those of the measured images themselves: with N codes of a depth, H_d is too low by about
    (number of used codes − 1) / (2 N ln 2) bits (G. A. Miller, 1955). A rate, hence not ranked: read it with the error
    that it pays for.
    """

    label = "Entropy"
    in_paper = False
    unit = "bits"
    better = "min"  # type: ignore[assignment]  # counts codes like Usage, whose values are better if higher
    digits = 1
    rate = True
    reference = "C. E. Shannon, A Mathematical Theory of Communication, Bell System Technical Journal 27, 1948"

    def reset(self) -> None:
        super().reset()
        if self.context.num_codes is not None:  # codes of each depth in all images, (depth,), and images
            self.state["codes"] = torch.zeros(self.context.depth, dtype=torch.float64)
            self.state["count"] = torch.zeros((), dtype=torch.float64)

    def update(self, batch: Batch) -> None:
        super().update(batch)
        if self.context.num_codes is None or batch.codes is None:
            return
        images, height, width, depth = batch.codes.shape
        cells = self.context.codes_per_image
        each = [height * width] * depth if cells is None else cells(height, width)
        self.state["codes"] += images * torch.tensor(each, dtype=torch.float64)
        self.state["count"] += images

    def compute(self) -> float | None:
        counts = self.counts()
        if counts is None:
            return None
        cells = self.state["codes"] / self.state["count"]
        return image_entropy_bits(counts.numpy(), cells.tolist())
