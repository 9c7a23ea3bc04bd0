"""Bits per image."""

from __future__ import annotations

import torch

from vqbench.errors import RunError
from vqbench.metric import Batch, Metric


class Bits(Metric):
    """Bits per image: height x width of the code map x bits per position.

    Every code costs the same (no entropy coding): log2 K for each of the ``depth`` codes of a position where all are
    possible. Above 0; lower is better, but it is a budget that two quantizers must share for their errors to be
    comparable.
    """

    label = "Bits"
    better = "min"
    digits = 0
    rate = True
    reference = "height x width of the code map x bits per position"
    needs_codes = True
    knobs = ()  # depends on the codes alone

    def reset(self) -> None:
        self.state = {"bits": torch.zeros((), dtype=torch.float64), "count": torch.zeros((), dtype=torch.float64)}

    def update(self, batch: Batch) -> None:
        if self.context.bits is None or batch.codes is None:
            return
        images, height, width, _ = batch.codes.shape
        self.state["bits"] += images * height * width * self.context.bits
        self.state["count"] += images

    def compute(self) -> float | None:
        if self.context.bits is None:
            return None
        if not self.state["count"]:
            raise RunError("Bits needs the codes of at least one image, and was given none")
        return float(self.state["bits"] / self.state["count"])
