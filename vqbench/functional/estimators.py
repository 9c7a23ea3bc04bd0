"""Gradient estimators for the encoder, and the loss of most codebooks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def straight_through(z: Tensor, z_q: Tensor) -> Tensor:
    """Return ``z_q`` exactly, with the gradient of ``z``, of any equal shapes.

    Y. Bengio et al., Estimating or Propagating Gradients Through Stochastic Neurons, 2013, arXiv 1308.3432.
    """
    return z_q.detach() + (z - z.detach())


def rotate(z: Tensor, z_q: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Return ``z_q`` exactly, with the gradient of the rotation trick for ``z``.

    C. Fifty et al., Restructuring Vector Quantization with the Rotation Trick, ICLR 2025, arXiv 2410.06424.

    z_q = λRz with λ = ‖z_q‖/‖z‖ and R = I − 2rrᵀ + 2q̂ẑᵀ, r = (ẑ + q̂)/‖ẑ + q̂‖, all of which are constants for the
    gradient: an upstream gradient g becomes λRᵀg. Both maps are (B, D, …); norms are at least ``epsilon``.
    """
    e, q = z.detach(), z_q.detach()
    e_norm, q_norm = (v.norm(dim=1, keepdim=True).clamp(min=epsilon) for v in (e, q))
    e_unit, q_unit = e / e_norm, q / q_norm
    r = F.normalize(e_unit + q_unit, dim=1)
    rotated = z - 2 * (z * r).sum(1, keepdim=True) * r + 2 * (z * e_unit).sum(1, keepdim=True) * q_unit
    scaled: Tensor = q_norm / e_norm * rotated
    return q + (scaled - scaled.detach())


def vq_loss(z: Tensor, z_q: Tensor, beta: float) -> Tensor:
    """Return mean((z_q − sg z)²) + β·mean((z − sg z_q)²), a scalar.

    The codebook term and the commitment of VQ-VAE (arXiv 1711.00937, equation 3).
    """
    return F.mse_loss(z_q, z.detach()) + beta * F.mse_loss(z, z_q.detach())
