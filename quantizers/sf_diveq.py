"""SF-DiVeQ: the codes are the corners of a curve, on which training quantizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import vqbench.functional as Q
from vqbench.bounds import NonNegativeInt, PositiveFloat
from vqbench.quantizer import Quantizer, QuantizerOutput


class SFDiVeQ(Quantizer):
    """The space-filling form of diveq: train on a curve, evaluate at its corners.

    The curve joins the codes c_1 … c_K in their order by straight segments. In training each segment j has one λ_j ~
    U(0, 1) for the whole batch, and z is quantized to the nearest of the K − 1 points (1 − λ_j)·c_j + λ_j·c_{j+1}:
    z_q = z + (1 − λ)·‖c_j − z‖·sg(v/‖v‖) + λ·‖c_{j+1} − z‖·sg(w/‖w‖), v = c_j − z + n, w = c_{j+1} − z + n',
    n and n' ~ N(0, σ²·I), σ = ``noise``. Its codes are the segments, 0 to K − 2. There is no loss.

    The first ``skip_steps`` − 1 training steps pass z on. Their last ``average_steps`` keep the features; cut into K
    runs of consecutive ones, the mean of each run is a code.

    In evaluation z_q is the nearest code, so a row has the bits of its codes. The released evaluation goes on to the
    nearest point of the two segments at this code: a continuous point, with a smaller error, which has no finite rate
    and cannot be decoded from codes. Errors in the paper are presumably those of the curve.

    Codes start at U(0, 1/K), all in the positive orthant.

    Differs from the released code, version 0.1.3 of the package diveq:

    - Evaluation, see above; there it is a method ``inference``, and ``eval()`` changes nothing.
    - The length of a run is computed in the first kept step, for as many features in each; there from all kept features
      at the end. Equal batches give the same. A run without features leaves its code as it was; there it becomes NaN.
    - While z is passed on, codes have a gradient of zero, there none, so that Adam's first steps are larger here.
    """

    paper: ClassVar[str] = (
        "M. H. Vali, T. Bäckström, A. Solin, DiVeQ: Differentiable Vector Quantization Using the Reparameterization "
        "Trick, ICLR 2026, arXiv 2509.26469"
    )
    check_args: ClassVar[Mapping[str, Any]] = {"skip_steps": 2, "average_steps": 1}

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        noise: PositiveFloat = 1e-3,
        skip_steps: NonNegativeInt = 1000,
        average_steps: NonNegativeInt = 50,
    ) -> None:
        super().__init__(num_codes, dim)
        Q.require(num_codes >= 2, f"a curve needs at least 2 codes, not {num_codes}")
        Q.require(noise > 0, f"noise must be positive, not {noise}")
        Q.require(average_steps <= skip_steps, "average_steps must be at most skip_steps")
        self.noise, self.skip_steps, self.average_steps = noise, skip_steps, average_steps
        self.codebook = nn.Parameter((Q.initial_codebook(num_codes, dim, "uniform") + 1 / num_codes) / 2)
        self.steps = nn.Buffer(torch.zeros((), dtype=torch.int64))
        self.kept = nn.Buffer(torch.zeros((), dtype=torch.int64))  # features so far
        self.run_length = nn.Buffer(torch.ones((), dtype=torch.int64))
        self.run_counts = nn.Buffer(torch.zeros(num_codes, dtype=torch.int64))
        self.run_sums = nn.Buffer(torch.zeros(num_codes, dim))

    @Q.full_precision
    def forward(self, z: Tensor) -> QuantizerOutput:
        """Quantize ``z`` (B, dim, H, W): to the curve in training, else to a code."""
        features = Q.flatten(z, self.dim)
        if self.training:
            rows, segments = self.on_curve(features)
            self.steps.add_(1)
            z_q = torch.where(self.steps >= self.skip_steps, Q.unflatten(rows, z), z)
            codes = Q.code_map(segments.masked_fill(self.steps < self.skip_steps, 0), z)
            self.keep(features.detach())
        else:
            codes = Q.code_map(Q.assign(features, self.codebook), z)
            z_q = Q.straight_through(z, self.decode(codes))
        return QuantizerOutput(z_q, codes, z.new_zeros(()), Q.usage_logs(Q.code_counts(codes, self.num_codes)))

    def on_curve(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return z_q (N, dim) of ``features``, and the segment (N,) of each."""
        weight = Q.shared_uniform(self.num_codes - 1, 1, device=features.device).to(features.dtype)  # λ
        codebook = self.codebook.clone()  # backward must not see the start of the codes
        segments = Q.assign(features, torch.lerp(codebook[:-1], codebook[1:], weight))
        first = (1 - weight[segments]) * self.towards(F.embedding(segments, codebook), features)
        second = weight[segments] * self.towards(F.embedding(segments + 1, codebook), features)
        return features + first + second, segments

    def towards(self, ends: Tensor, features: Tensor) -> Tensor:
        """Return ``ends`` − ``features`` (N, dim) in a noisy direction.

        Only the length has a gradient.
        """
        error = ends - features
        noisy = error + self.noise * Q.feature_normal(*error.shape, device=error.device)
        length: Tensor = torch.linalg.vector_norm(error, dim=1, keepdim=True)
        return length * F.normalize(noisy, dim=1).detach()

    @torch.no_grad()
    def keep(self, features: Tensor) -> None:
        """Add ``features`` (n, dim) to their runs, or start the codes, where due."""
        due = (self.steps >= self.skip_steps - self.average_steps) & (self.steps < self.skip_steps)
        start, total = Q.shard(len(features))
        steps = min(self.average_steps, self.skip_steps - 1)
        longest = max(1, total * steps // self.num_codes)
        self.run_length.copy_(torch.where(self.kept == 0, longest, self.run_length))
        place = self.kept + start + torch.arange(len(features), device=features.device)
        run = torch.where(due, place // self.run_length, self.num_codes).clamp(max=self.num_codes)  # K: not kept
        self.run_counts.add_(Q.code_counts(run, self.num_codes + 1)[:-1])
        self.run_sums.add_(Q.code_sums(features, run, self.num_codes + 1)[:-1])
        self.kept.add_(due * total)
        means = self.run_sums / self.run_counts.clamp(min=1)[:, None]
        fresh = (self.steps == self.skip_steps - 1) & (self.run_counts > 0)  # (K,)
        self.codebook.copy_(torch.where(fresh[:, None], means, self.codebook))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the code vectors (B, dim, H, W) of ``codes`` (B, H, W, 1)."""
        return Q.look_up(codes, self.codebook)
