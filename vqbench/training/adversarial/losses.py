"""Adversarial losses and their weight."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

GanLoss = Literal["hinge", "non_saturating"]

LARGEST_WEIGHT = 1e4  # of the adversarial loss, relative to its factor
SMALLEST_NORM = 1e-4  # added to the norm that is divided by


def discriminator_loss(real: Tensor, fake: Tensor, game: GanLoss) -> Tensor:
    """Return half the sum of the means over ``real`` and ``fake`` logits.

    Logits of any shapes give ().

    hinge: max(0, 1 − D(x)) and max(0, 1 + D(x̂)), as VQGAN. non_saturating: −ln σ(D(x)) and −ln(1 − σ(D(x̂))).
    """
    if game == "hinge":
        return (F.relu(1 - real).mean() + F.relu(1 + fake).mean()) / 2
    return (F.softplus(-real).mean() + F.softplus(fake).mean()) / 2


def generator_loss(fake: Tensor, game: GanLoss) -> Tensor:
    """Return the mean loss () over the logits ``fake``.

    hinge: −D(x̂). non_saturating: −ln σ(D(x̂)).
    """
    return -fake.mean() if game == "hinge" else F.softplus(-fake).mean()


def adaptive_weight(reconstruction: Tensor, adversarial: Tensor) -> Tensor:
    """Return ‖∇_w reconstruction‖ / (‖∇_w adversarial‖ + 1e-4), at most 1e4: ().

    The arguments are the two gradients at the weight w of the decoder's last layer, of the global batch. Times this
    factor, which has no gradient, the second is as large as the first. Source: Esser, Rombach, Ommer, VQGAN, CVPR 2021,
    arXiv 2012.09841, equation 7, with the constants of its released code (the paper has 1e-6).
    """
    ratio: Tensor = torch.linalg.vector_norm(reconstruction) / (torch.linalg.vector_norm(adversarial) + SMALLEST_NORM)
    return ratio.clamp(0, LARGEST_WEIGHT).detach()


def r1(logits: Tensor, images: Tensor) -> Tensor:
    """Return the mean over the images of ‖∇_x ΣD(x)‖²: (), with a gradient.

    ``images`` (B, …) must require a gradient. Half of the mean, times gamma, is the penalty of Mescheder, Geiger,
    Nowozin, Which Training Methods for GANs do actually Converge?, ICML 2018, arXiv 1801.04406, equation 9.
    """
    (gradient,) = torch.autograd.grad(logits.float().sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
