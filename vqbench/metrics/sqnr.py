"""Signal-to-quantization-noise ratio."""

from __future__ import annotations

import math

from vqbench.metrics.relative_error import RelativeError


class SQNR(RelativeError):
    """Variance of the features over the error of quantization, in dB.

    10 log10(Var z / ‖z − z_q‖²), from the relative error, whose limits it has: only quantizers on equal features are
    comparable. Higher is better; 0 dB is as good as one code, the mean of all features. Each further bit per value is
    worth 6.02 dB at best.
    """

    label = "SQNR"
    unit = "dB"
    better = "max"  # type: ignore[assignment]  # the inverse of the error, which is better if lower
    ideal = math.inf
    digits = 2
    reference = "10 log10(Var z / ‖z − z_q‖²), Gersho and Gray, Vector Quantization, 1992"

    def compute(self) -> float | None:
        error = super().compute()
        if error is None:
            return None
        return -10 * math.log10(error) if error > 0 else math.inf
