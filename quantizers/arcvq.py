"""ArcVQ-VAE: codes in a ball that grows, features drawn to them by an angle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeFloat, PositiveFloat, PositiveInt
from vqbench.quantizer import QuantizerOutput
from vqbench.quantizers.vq import VQ

EDGE = 1e-7  # the arc cosine is taken of cosines at least this far from ±1, where its gradient ends
LARGEST_SCALE = 40.0  # e^(−2·40) is still a normal number in float32


class ArcVQ(VQ):
    """VQ by cosine, with a bound on the codes' norms and an angular margin loss.

    At training step t, from 0: first e_k ← e_k·min(1, r/‖e_k‖) with r = exp(``radius_growth``·t). Then VQ: the code of
    largest cosine, of which the decoder gets the vector as it is, and vq's loss between the vectors as they are. Added
    to it is ``arc_weight``·exp(−``arc_decay``·t)·mean_k −ln[Σ_{i∈P_k} exp(s·cos(θ_ik + m)) / Z_k], where θ_ik is the
    angle between feature i and code k, P_k the ``positives`` features of the batch of the smallest angle to code k, and
    Z_k the same sum plus Σ_{i∉P_k} exp(s·cos θ_ik) over all other features: a softmax for every code, over features.
    Its gradient goes to the features alone. s is ``scale``, m is ``margin`` in radians. In evaluation no code is
    bounded and the loss is vq's. No code is ever reinitialised.

    ``arcvq_vqgan`` has the values of the release's VQGAN. With several ranks the loss is computed over the global
    batch. Beyond 2²⁵ cosines, backward computes them again, for a part of the codes at a time.

    Codes start at U(±1/K) divided by their length, as in the released code.

    Differs from the released code:

    - t counts training passes, one per update; in the release's VQGAN it is Lightning's ``global_step``, which may
      count updates of the discriminator, too.
    - Its VQGAN has the angular term and the bound in validation, too.
    - A code of norm 0 becomes NaN there, and a batch of fewer than ``positives`` features fails.
    - Exponentials are divided by exp(s), which cancels.

    The release trains it otherwise than CVQ-VAE, whose printed values its paper repeats: the reconstruction error is
    divided by 4 times the variance (by the variance in CVQ's), seed 1, Adam at 3e-4 with batches of 1,024, the last
    incomplete batch is kept, and modes of training and evaluation are set. Here, the suite's protocol decides these.
    """

    paper: ClassVar[str] = (
        "J. Kim, Y. Yoo, ArcVQ-VAE: A Spherical Vector Quantization Framework with ArcCosine Additive Margin, ICML "
        "2026, arXiv 2605.13517"
    )
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "arcvq_vqgan": {"scale": 10.0, "arc_decay": 1e-4, "radius_growth": 5e-5, "beta_on": "codebook"},
    }
    exempt: ClassVar[Mapping[str, str]] = {
        "training_agrees": "as released, evaluation takes the codes as the last update left them, not yet bounded",
    }

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        beta: NonNegativeFloat = 0.25,
        beta_on: Literal["commitment", "codebook"] = "commitment",
        scale: PositiveFloat = 5.0,
        margin: NonNegativeFloat = 0.1,
        positives: PositiveInt = 3,
        arc_weight: NonNegativeFloat = 1.0,
        arc_decay: NonNegativeFloat = 5e-4,
        radius_growth: NonNegativeFloat = 3e-4,
    ) -> None:
        super().__init__(num_codes, dim, distance="cosine", beta=beta, beta_on=beta_on)
        Q.require(0 < scale <= LARGEST_SCALE, f"scale must be positive and at most {LARGEST_SCALE:g}, not {scale}")
        Q.require(positives >= 1, f"positives must be at least 1, not {positives}")
        self.scale, self.margin, self.positives = scale, margin, positives
        self.arc_weight, self.arc_decay, self.radius_growth = arc_weight, arc_decay, radius_growth
        self.codebook = nn.Parameter(F.normalize(self.codebook.detach(), dim=1))
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))  # t

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W).

        In training, bound the codes first, and add the angular term.
        """
        if not self.training:
            return self.quantize(z, self.codebook)
        step = self.steps.to(self.codebook.dtype)
        self.bound(torch.exp(self.radius_growth * step))
        out = self.quantize(z, self.codebook)
        angular = angular_loss(Q.flatten(z, self.dim), self.codebook, self.scale, self.margin, self.positives)
        out.loss = out.loss + self.arc_weight * torch.exp(-self.arc_decay * step) * angular
        self.steps.add_(1)
        return out

    @torch.no_grad()
    def bound(self, radius: Tensor) -> None:
        """Shorten codes that are longer than ``radius`` () to that length."""
        norms = torch.linalg.vector_norm(self.codebook, dim=1, keepdim=True)  # (K, 1)
        self.codebook.copy_(torch.where(norms > radius, self.codebook * (radius / norms), self.codebook))


def angular_loss(features: Tensor, codebook: Tensor, scale: float, margin: float, positives: int) -> Tensor:
    """Compute ArcVQ's angular margin loss () over the global batch.

    Its gradient goes to ``features`` (n, D), those of this rank, alone. Ranks exchange no features, only the
    ``positives`` largest cosines of each code and two sums per code.
    """

    def weigh(codes: Tensor, _: Tensor | None, units: Tensor) -> tuple[Tensor, ...]:
        cosines = codes @ units.T  # (k, n)
        nearest = cosines.topk(min(positives, len(units)))
        return nearest.values, nearest.indices, (scale * (cosines - 1)).exp().sum(1)

    units, codes = F.normalize(features, dim=1), F.normalize(codebook.detach(), dim=1)
    nearest, places, total = Q.map_chunks(weigh, codes, len(units), [units], noisy=False, of_batch=False)
    positive = among_nearest(nearest.detach(), places, positives, len(units))  # (K, p)
    angles = torch.acos(nearest.clamp(EDGE - 1, 1 - EDGE))
    plain, shifted = ((scale * (cosines - 1)).exp() for cosines in (nearest, torch.cos(angles + margin)))
    attracted = torch.where(positive, shifted, 0).sum(1)  # (K,)
    total = total + torch.where(positive, shifted - plain, 0).sum(1)  # Z
    attracted, total = Q.all_mean(torch.stack([attracted, total]) / len(units)).unbind()
    return (total.log() - attracted.log()).mean()


def among_nearest(nearest: Tensor, places: Tensor, positives: int, count: int) -> Tensor:
    """Return which of this rank's nearest features are among the global batch's.

    Args:
        nearest: (K, p), each code's largest cosines to this rank's features.
        places: (K, p), of these features among the ``count`` of this rank.
        positives: how many features of the global batch are positive for a code.
        count: features of this rank.
    """
    if Q.world_size() == 1:
        return torch.ones_like(nearest, dtype=torch.bool)
    places = places + Q.shard(count)[0]  # in the global batch
    missing = (0, positives - nearest.shape[1])
    candidates = Q.all_gather(F.pad(nearest, missing, value=-torch.inf)[None]).movedim(0, 1).flatten(1)
    owners = Q.all_gather(F.pad(places, missing, value=-1)[None]).movedim(0, 1).flatten(1)
    order = candidates.sort(dim=1, descending=True, stable=True).indices[:, :positives]  # of equal ones, the first
    return (places[:, :, None] == owners.gather(1, order)[:, None]).any(2)
