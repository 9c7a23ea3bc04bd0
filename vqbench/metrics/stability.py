"""Stability of codes under decoding and encoding."""

from __future__ import annotations

import torch
from torch import Tensor

from vqbench.metric import Batch, Metric


class Stability(Metric):
    """Share of codes that survive decoding and encoding again, in percent.

    100 · the mean over images, positions and depths of [c' = c], with the codes c of an image and the codes c' of its
    reconstruction. In [0, 100]; higher is better. 100: encoding a decoded image changes nothing, as editors need that
    decode, edit and encode again.

    The reconstruction is encoded as the measuring protocol has it: clamped to the range of images, in 8 bits where it
    says so, after JPEG where it says so. One more pass of the encoder per protocol. Undefined without a codebook.
    """

    label = "Stability"
    unit = "%"
    better = "max"
    ideal = 100.0
    digits = 1
    reference = "codes of reconstructions that equal the codes they were decoded from, divided by all codes"
    needs_codes = True
    needs_model = True

    def reset(self) -> None:
        self.state = {"sum": torch.zeros((), dtype=torch.float64), "count": torch.zeros((), dtype=torch.float64)}

    @torch.no_grad()
    def update(self, batch: Batch) -> Tensor | None:
        model, shape = self.context.model, self.context.image_shape
        if model is None or shape is None or batch.codes is None:
            return None
        images = batch.reconstructions[:, : shape[0]]  # (B, C, H, W) in [0, 1]; protocols tile grey
        again = model.quantize((images - 0.5) / 0.5).codes
        values = 100 * (again == batch.codes).flatten(1).double().mean(1).cpu()  # (B,)
        self.state["sum"] += values.sum()
        self.state["count"] += len(values)
        return values

    def compute(self) -> float | None:
        return float(self.state["sum"] / self.state["count"]) if self.state["count"] else None
