"""Relative error of quantization."""

from __future__ import annotations

import math

import torch

from vqbench.errors import RunError
from vqbench.functional.relative_error import SUMS, error_of_sums, error_sums
from vqbench.metric import Batch, Metric


class RelativeError(Metric):
    """Error of quantization, in units of the features' variance.

    Σ‖z − z_q‖² / Σ‖z − mean z‖² over all positions of all images of the test split, with the encoder's features z and
    the features z_q that the decoder gets. At least 0; lower is better; 1 is as good as one code, the mean of all
    features.

    It compares quantizers on equal features alone: an encoder that is trained with a quantizer may place its features
    close to the codes, or not at all. A quantizer that projects features before it looks up codes (unit vectors, signs)
    may exceed 1 where the decoder has learned to read what is left of them. Undefined where nothing is quantized, so
    z_q = z; RunError if all features are equal.
    """

    label = "Rel. error"
    better = "min"
    ideal = 0.0
    digits = 4
    reference = "‖z − z_q‖² / Var z, the quantization error of Gersho and Gray, Vector Quantization, 1992, normalised"
    needs_model = True
    knobs = ()  # depends on features alone

    def reset(self) -> None:
        if self.context.latent_shape is None:
            self.state = {}
            return
        self.state = {name: torch.zeros((), dtype=torch.float64) for name in SUMS}
        self.state["total"] = torch.zeros(self.context.latent_shape[0], dtype=torch.float64)  # (dim,)

    def update(self, batch: Batch) -> None:
        if batch.latents is None or not self.state:
            return
        rows = (z.movedim(1, -1).flatten(0, 2) for z in (batch.latents.features, batch.latents.quantized))  # (N, dim)
        for name, value in error_sums(*rows).items():
            self.state[name] += value.cpu()

    def compute(self) -> float | None:
        if not self.state or (self.context.num_codes is None and self.state["count"] > 0 and not self.state["error"]):
            return None
        value = error_of_sums(self.state)
        if math.isnan(value):
            raise RunError("Rel. error needs features that vary: those of all images are equal, or there are none")
        return value
