"""The error of quantization in units of the features' variance."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vqbench.functional.shapes import require

SUMS = ("count", "error", "square")  # scalars; "total" is (D,)


def relative_error(features: Tensor, quantized: Tensor) -> float:
    """Return Σ‖z − z_q‖² / Σ‖z − mean z‖² over features z.

    0: no error. 1: as good as the mean of all features, a codebook of one code. Above 1: worse than that. For features
    of D independent dimensions with variance σ² each, it is the mean squared error per dimension divided by σ².

    >>> z = torch.tensor([[-2.0], [-1.0], [1.0], [2.0]])
    >>> relative_error(z, torch.tensor([[-1.5], [-1.5], [1.5], [1.5]]))  # 4 · 0.25 / 10
    0.1

    Args:
        features: z, (N, D) of any float type; computed in float64.
        quantized: z_q, likewise.

    Raises:
        UsageError: Shapes differ.
    """
    return error_of_sums(error_sums(features, quantized))


def error_sums(features: Tensor, quantized: Tensor) -> dict[str, Tensor]:
    """Return what :func:`error_of_sums` needs of features z and z_q, (N, D).

    All in float64, and adding up over parts of the features: ``count`` N, ``error`` Σ‖z − z_q‖², ``square`` Σ‖z‖²,
    all (), and ``total`` Σ z, (D,).

    Raises:
        UsageError: Shapes differ.
    """
    require(
        features.ndim == 2 and features.shape == quantized.shape,
        f"features {tuple(features.shape)} and quantized features {tuple(quantized.shape)} must be (N, D) both",
    )
    z, z_q = features.double(), quantized.double()
    return {
        "count": torch.tensor(float(len(z)), dtype=torch.float64, device=z.device),
        "error": (z - z_q).square().sum(),
        "square": z.square().sum(),
        "total": z.sum(0),
    }


def error_of_sums(sums: Mapping[str, Tensor]) -> float:
    """Return the relative error of the features whose :func:`error_sums` these are.

    NaN where the features do not vary, or none were added.
    """
    variance = sums["square"] - sums["total"].square().sum() / sums["count"]  # N times their total variance
    return float(sums["error"] / variance) if variance > 0 else float("nan")
